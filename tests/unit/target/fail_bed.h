/*
 * fail_bed.h - a target whose allocations or operations fail in turn: started often, saving often, and
 * sleeping when it has nothing to do
 */
#ifndef CORELANE_TESTS_FAIL_BED_H
#define CORELANE_TESTS_FAIL_BED_H

#include <dirent.h>

#include "tgt_peer.h"

#define ANSWER_MS 30000                     /* a limit for a test that hangs, not for a machine that is slow */

/* A directory in memory, where there is one. */
static inline void fail_bed_dir(struct bed *b)
{
    snprintf(b->dir, sizeof(b->dir), "%s/tgt-test-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->sock, sizeof(b->sock), "%s/rpc.sock", b->dir);
    snprintf(b->config, sizeof(b->config), "%s/config.json", b->dir);
    if (bed_loopback)
        snprintf(b->loop, sizeof(b->loop), "%s/loop.sock", b->dir);
}

/* Starts it from what is in the directory. */
static inline void fail_bed_up(struct bed *b, unsigned cores)
{
    static const int cpus[] = { -1, -1 };
    const struct rt_conf rc = { .cores = cpus, .cores_nr = cores, .mode = RT_MODE_INTERRUPT };
    struct rt_addr at;
    const struct tgt_conf tc = { .config_path = b->config, .state_dir = b->dir, .portals = &at, .portals_nr = 1,
                                 .loop_path = *b->loop ? b->loop : NULL };

    assert_true(cores <= ARRAY_SIZE(cpus));
    assert_int_equal(rt_addr_parse(&at, "127.0.0.1:0", 0), 0);
    assert_int_equal(rt_host_new(&b->host, &rc), 0);
    assert_int_equal(tgt_new(&b->tgt, b->host, &tc), 0);
    b->port = ntohs(b->tgt->portals[0].addr.in.sin_port);
    assert_int_equal(
        rpc_listen(&b->rpc, rt_host_at(b->host, 0), b->sock, tgt_methods, tgt_methods_nr, b->tgt), 0);
    assert_int_equal(pthread_create(&b->thread, NULL, bed_thread, b), 0);
}

/* What the last one that was stopped left in its directory, also when a test failed half way. */
static inline int fail_bed_clear(struct bed *b)
{
    struct dirent *e;
    DIR *d = opendir(b->dir);

    while (d && (e = readdir(d))) {
        if (*e->d_name != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
    return rmdir(b->dir);
}

#endif
