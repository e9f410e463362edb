/*
 * rt_log.h - one line for the operator
 *
 * Lines go to stderr with the journal's priority prefix ("<4>") when a journal reads it, else with a word.
 * Logged once, by whoever decides what to do about it; a line that a remote peer can provoke at will goes
 * through rt_log_peer(), which lets a burst pass and then one line a second with a count of those dropped.
 */
#ifndef CORELANE_RT_LOG_H
#define CORELANE_RT_LOG_H

enum rt_level { RT_ERR = 3, RT_WARN = 4, RT_NOTICE = 5, RT_INFO = 6, RT_DEBUG = 7 };

/* Any thread. A line is cut at 1,000 bytes; control characters in it are replaced by '?', so a peer's
 * name cannot forge a line. */
void rt_log(enum rt_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rt_log_peer(enum rt_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Lines above @level (larger number) are dropped from now on. At start: RT_INFO. */
void rt_log_level(enum rt_level level);

#endif
