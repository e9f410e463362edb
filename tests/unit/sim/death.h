/*
 * death.h - misuse ends the process with a word on stderr: tests of that run it in a child
 */
#ifndef SIM_DEATH_H
#define SIM_DEATH_H

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim_test.h"

/* fn() has to end the process, having said so. */
static inline void expect_death(void (*fn)(void), const char *word)
{
    char text[4096];
    size_t len = 0;
    ssize_t n;
    int fds[2], status;
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        const struct rlimit none = { 0, 0 };

        signal(SIGABRT, SIG_DFL);
        setrlimit(RLIMIT_CORE, &none);
        dup2(fds[1], 2);
        close(fds[0]);
        fn();
        _exit(0);
    }
    close(fds[1]);
    while (len < sizeof(text) - 1 && (n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        fail_msg("it was not noticed");
    if (!strstr(text, word))
        fail_msg("\"%s\" is not in: %s", word, text);
}

#endif
