/*
 * fake_target.h - a target that does what a test tells it to, on a thread with blocking sockets
 *
 * A script is called for each connection with its number. It may speak PDU by PDU (fake_wire.h), or log in with
 * fake_login() and let fake_serve() answer as a small RAM disk would (fake_disk.h), with a hook that sees every
 * request first. The initiator under test is rig.h's.
 */
#ifndef FAKE_TARGET_H
#define FAKE_TARGET_H

#include "fake_disk.h"
#include "fake_wire.h"
#include "rig.h"

static inline void *fake_main(void *arg)
{
    struct fake *f = arg;

    while (!f->stop) {
        const struct timeval patience = { .tv_sec = 60 };
        struct fake_conn c = { .f = f, .stat_sn = 100, .window = 64 };

        c.fd = accept(f->listener, NULL, NULL);
        if (c.fd < 0)
            break;
        if (f->stop) {
            close(c.fd);
            break;
        }
        setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
        c.nr = f->conns++;
        c.tsih = (uint16_t)(c.nr + 1);
        c.data = malloc(FAKE_DATA_MAX + 4);
        f->script(&c);
        for (struct fake_later *l; (l = c.later); free(l))
            c.later = l->next;
        free(c.data);
        shutdown(c.fd, SHUT_RDWR);
        close(c.fd);
    }
    return NULL;
}

static inline void fake_start(struct fake *f, fake_script *script)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);

    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(f->listener, 16), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&a, &len), 0);
    f->port = ntohs(a.sin_port);
    f->script = script ? script : fake_default_script;
    if (!f->naa[0])
        strcpy(f->naa, "5001405aabbccdd1");
    if (!f->blocks)
        f->blocks = FAKE_BLOCKS;
    f->disk = calloc(FAKE_BLOCKS, 512);
    assert_int_equal(pthread_create(&f->thread, NULL, fake_main, f), 0);
}

static inline void fake_stop(struct fake *f)
{
    f->stop = true;
    shutdown(f->listener, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    close(f->listener);
    free(f->disk);
}

#endif
