/*
 * kstat.h - how busy the kernel says that CPUs are, whoever uses them
 *
 * A thread of its own asks once a second: to make up /proc/stat takes the kernel milliseconds on a large machine, too
 * long for a reactor.
 */
#ifndef CORELANE_BALANCER_KSTAT_H
#define CORELANE_BALANCER_KSTAT_H

#include <stdbool.h>
#include <stdint.h>

struct bal_kstat;

struct bal_ticks {      /* of one CPU since boot, in the kernel's unit */
    uint64_t idle, all; /* idle: waiting for disks included; all: what a hypervisor took (steal) included */
};

/* One line of /proc/stat, ended by a newline or NUL. Return: whether it is that of a CPU, then @cpu and @out are set. */
bool bal_kstat_line(const char *line, int *cpu, struct bal_ticks *out);

/* @cpus: borrowed; those to watch, -1 for none: it is never busy. At set-up, on a thread that is not pinned yet.
 * Return: 0 or -errno. */
int bal_kstat_new(struct bal_kstat **out, const int *cpus, unsigned nr);
/* @index: in @cpus. Return: percent of the last second, 0 before the second one. Any thread. */
unsigned bal_kstat_busy_pct(const struct bal_kstat *k, unsigned index);
void bal_kstat_free(struct bal_kstat *k); /* waits for the thread; accepts NULL */

#endif
