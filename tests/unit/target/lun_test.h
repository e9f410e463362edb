/*
 * lun_test.h - a logical unit under test: reactors turned by the test's own thread, sessions that are a struct,
 * and commands that wait for nobody but the test
 */
#ifndef LUN_TEST_H
#define LUN_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "reactor/rt_bytes.h"
#include "target/lun_internal.h"

#include <cmocka.h>

#define WAIT_MAX_NS (20 * RT_S)             /* only a hang takes that long */
#define NEXUS_MAX 4
#define BUF_LEN (1u << 20)

struct cmd {
    struct scsi_task t;
    uint8_t cdb[16];
    struct iovec out_iov, in_iov;
    uint8_t *out, *in;                      /* page-aligned, BUF_LEN */
    bool begun, done, finished, ran;
    bool aborted, tas;
    struct rt_msg msg;
    struct scsi_sense sense;
};

struct world {
    struct rt_host *host;
    unsigned cores;
    struct lun *lun;
    struct nexus nexus[NEXUS_MAX];
    struct itl itl[NEXUS_MAX], *list[NEXUS_MAX];
    unsigned nexus_nr;
    char dir[32], state[64];
};

/* ---- running code on a core ------------------------------------------------------------------------------ */

static inline void turn_all(struct world *w)
{
    for (unsigned i = 0; i < w->cores; i++)
        assert_true(rt_turn(rt_host_at(w->host, i), 0) >= 0);
}

#define turn_while(w, what) \
    do { \
        const uint64_t end_ = rt_clock(rt_host_at((w)->host, 0)) + WAIT_MAX_NS; \
        while (what) { \
            turn_all(w); \
            assert_true(rt_clock(rt_host_at((w)->host, 0)) < end_); \
        } \
    } while (0)

struct call {
    struct rt_msg msg;
    void (*fn)(void *arg);
    void *arg;
    bool done;
};

static inline void call_run(struct rt_msg *m)
{
    struct call *c = container_of(m, struct call, msg);

    c->fn(c->arg);
    c->done = true;
}

static inline void on_core(struct world *w, struct rt *rt, void (*fn)(void *arg), void *arg)
{
    struct call c = { .msg.fn = call_run, .fn = fn, .arg = arg };

    rt_post(rt, &c.msg);
    turn_while(w, !c.done);
}

/* ---- commands -------------------------------------------------------------------------------------------- */

static inline void cmd_done(struct scsi_task *t)
{
    struct cmd *c = container_of(t, struct cmd, t);

    assert_false(c->done);
    c->done = true;
    if (t->status == SCSI_CHECK_CONDITION)
        assert_int_equal(scsi_sense_decode(&c->sense, t->sense, t->sense_len), 0);
}

static inline void cmd_start_here(void *arg)
{
    struct cmd *c = arg;
    struct scsi_task *t = &c->t;

    c->begun = true;
    if (lun_start(t) == LUN_DONE) {
        cmd_done(t);
        return;
    }
    t->out_got = t->out_len < t->edtl ? t->out_len : t->edtl;
    c->out_iov = (struct iovec){ c->out, t->out_got };
    c->in_iov = (struct iovec){ c->in, t->in_len < t->edtl ? t->in_len : t->edtl };
    t->out_iov = &c->out_iov;
    t->in_iov = &c->in_iov;
    t->out_nr = t->out_got ? 1 : 0;
    t->in_nr = c->in_iov.iov_len ? 1 : 0;
}

static inline void cmd_run_here(void *arg)
{
    struct cmd *c = arg;

    if (c->done || c->aborted)
        return;
    c->ran = true;
    lun_run(&c->t);
}

static inline void cmd_finish_here(void *arg)
{
    struct cmd *c = arg;

    assert_false(c->finished);
    c->finished = true;
    lun_finish(&c->t);
}

static inline void cmd_abort_msg(struct rt_msg *m)
{
    cmd_finish_here(container_of(m, struct cmd, msg));
}

/* What a session does: a task that runs is cancelled and finished when done; one that waits for data at
 * once. */
static inline void nexus_abort(struct scsi_task *t, bool tas)
{
    struct cmd *c = container_of(t, struct cmd, t);

    assert_false(c->aborted);
    c->aborted = true;
    c->tas = tas;
    if (c->ran) {
        lun_cancel(t);
        return;
    }
    c->msg.fn = cmd_abort_msg;
    rt_post(t->nexus->rt, &c->msg);
}

static const struct nexus_ops nexus_ops = { .abort = nexus_abort };

static inline void cmd_free(struct cmd *c)
{
    free(c->out);
    free(c->in);
    free(c);
}

/* @out: copied. @len: bytes to expect in either direction. */
static inline struct cmd *cmd_new(struct world *w, unsigned nexus, const uint8_t *cdb, const void *out,
                                  uint32_t out_len, uint32_t in_len)
{
    struct cmd *c = calloc(1, sizeof(*c));

    assert_non_null(c);
    assert_true(out_len <= BUF_LEN && in_len <= BUF_LEN);
    c->out = aligned_alloc(4096, BUF_LEN);
    c->in = aligned_alloc(4096, BUF_LEN);
    memset(c->in, 0xee, in_len + 16 < BUF_LEN ? in_len + 16 : BUF_LEN);
    if (out)
        memcpy(c->out, out, out_len);
    memcpy(c->cdb, cdb, 16);
    c->t = (struct scsi_task){
        .nexus = &w->nexus[nexus], .itl = &w->itl[nexus], .number = w->itl[nexus].number, .cdb = c->cdb,
        .cdb_len = 16,
        .edtl = out_len ? out_len : in_len, .read = in_len > 0, .write = out_len > 0, .attr = ISCSI_ATTR_SIMPLE,
        .done = cmd_done,
    };
    return c;
}

static inline void cmd_begin(struct world *w, struct cmd *c)
{
    on_core(w, c->t.nexus->rt, cmd_start_here, c);
    on_core(w, c->t.nexus->rt, cmd_run_here, c);
}

static inline void cmd_finish(struct world *w, struct cmd *c)
{
    if (!c->finished)
        on_core(w, c->t.nexus->rt, cmd_finish_here, c);
}

/* Runs to the end. The caller cmd_free()s it. */
static inline struct cmd *exec(struct world *w, unsigned nexus, const uint8_t *cdb, const void *out,
                               uint32_t out_len, uint32_t in_len)
{
    struct cmd *c = cmd_new(w, nexus, cdb, out, out_len, in_len);

    cmd_begin(w, c);
    turn_while(w, !c->done);
    cmd_finish(w, c);
    return c;
}

/* The status alone, and a sense where one is expected. */
static inline uint8_t status_of(struct world *w, unsigned nexus, const uint8_t *cdb, const void *out,
                                uint32_t out_len, uint32_t in_len)
{
    struct cmd *c = exec(w, nexus, cdb, out, out_len, in_len);
    const uint8_t status = c->t.status;

    cmd_free(c);
    return status;
}

static inline void check_sense(struct cmd *c, uint8_t key, uint8_t asc, uint8_t ascq)
{
    assert_int_equal(c->t.status, SCSI_CHECK_CONDITION);
    assert_int_equal(c->sense.key, key);
    assert_int_equal(c->sense.asc, asc);
    assert_int_equal(c->sense.ascq, ascq);
}

static inline void expect_sense(struct world *w, unsigned nexus, const uint8_t *cdb, const void *out,
                                uint32_t out_len, uint32_t in_len, uint8_t key, uint8_t asc, uint8_t ascq)
{
    struct cmd *c = exec(w, nexus, cdb, out, out_len, in_len);

    check_sense(c, key, asc, ascq);
    cmd_free(c);
}

#define CDB(...) ((const uint8_t[16]){ __VA_ARGS__ })
#define TUR CDB(0)

static inline const uint8_t *cdb16(uint8_t cdb[static 16], uint8_t op, uint8_t b1, uint64_t lba,
                                   uint32_t blocks)
{
    memset(cdb, 0, 16);
    cdb[0] = op;
    cdb[1] = b1;
    store_be64(&cdb[2], lba);
    store_be32(&cdb[10], blocks);
    return cdb;
}
#define OP16(op, b1, lba, blocks) cdb16((uint8_t[16]){ 0 }, op, b1, lba, blocks)

/* Takes the unit attentions of a nexus; how many there were. *last: asc << 8 | ascq. */
static inline unsigned attentions(struct world *w, unsigned nexus, unsigned *last)
{
    unsigned nr = 0;

    for (;;) {
        struct cmd *c = exec(w, nexus, TUR, NULL, 0, 0);
        const bool more = c->t.status == SCSI_CHECK_CONDITION;

        if (more) {
            assert_int_equal(c->sense.key, SCSI_UNIT_ATTENTION);
            nr++;
            if (last)
                *last = (unsigned)(c->sense.asc << 8 | c->sense.ascq);
        }
        cmd_free(c);
        if (!more)
            return nr;
    }
}

/* ---- the world ------------------------------------------------------------------------------------------- */

struct attach {
    struct world *w;
    unsigned i;
    bool readonly;
};

static inline void attach_here(void *arg)
{
    struct attach *a = arg;
    struct world *w = a->w;

    itl_attach(&w->itl[a->i], &w->nexus[a->i], w->lun, 0, a->readonly);
}

static inline void detach_here(void *arg)
{
    itl_detach(arg);
}

/* Nexus i lives on core i % cores. */
static inline void nexus_add(struct world *w, bool readonly)
{
    const unsigned i = w->nexus_nr++;
    struct nexus *n = &w->nexus[i];
    struct attach a = { w, i, readonly };

    assert_true(i < NEXUS_MAX);
    *n = (struct nexus){ .ops = &nexus_ops, .rt = rt_host_at(w->host, i % w->cores), .tpgt = 1, .rel_port = 1 };
    snprintf(n->initiator, sizeof(n->initiator), "iqn.2024-01.org.example:host%u", i);
    snprintf(n->target, sizeof(n->target), "iqn.2024-01.org.example:target");
    n->isid[5] = (uint8_t)(i + 1);
    w->list[i] = &w->itl[i];
    n->itls = &w->list[i];
    n->itls_nr = 1;
    on_core(w, n->rt, attach_here, &a);
}

static inline void world_open(struct world *w, const struct lun_conf *conf)
{
    char why[256];
    const int err = lun_new(&w->lun, w->host, w->cores - 1, conf, why);

    if (err)
        fail_msg("lun_new: %d: %s", err, why);
}

static inline void world_host(struct world *w, unsigned cores)
{
    static const int nums[] = { -1, -1, -1, -1 };
    const struct rt_conf conf = { .cores = nums, .cores_nr = cores, .mode = RT_MODE_INTERRUPT };

    memset(w, 0, sizeof(*w));
    w->cores = cores;
    assert_int_equal(rt_host_new(&w->host, &conf), 0);
    strcpy(w->dir, "/tmp/lun-test-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->state, sizeof(w->state), "%s/state", w->dir);
}

#define RAM_LEN (8u << 20)

static inline void world_ram(struct world *w, unsigned cores, unsigned nexuses)
{
    struct lun_conf conf = { .be = { .kind = "ram", .size = RAM_LEN }, .block_len = 512 };

    world_host(w, cores);
    conf.state_path = w->state;
    world_open(w, &conf);
    while (w->nexus_nr < nexuses)
        nexus_add(w, false);
    for (unsigned i = 0; i < nexuses; i++)
        assert_int_equal(attentions(w, i, NULL), 1);
}

struct asked {
    struct lun_request r;
    struct world *w;
    bool done;
    int err;
    uint64_t size;
    struct itl *by;
    bool of_target;
};

static inline void asked_done(struct lun_request *r, int err)
{
    struct asked *a = container_of(r, struct asked, r);

    a->done = true;
    a->err = err;
}

static inline void quiesce_here(void *arg)
{
    struct asked *a = arg;

    lun_quiesce(a->w->lun, &a->r);
}

static inline void reset_here(void *arg)
{
    struct asked *a = arg;

    lun_reset(a->w->lun, &a->r, a->by, a->of_target ? LUN_RESET_TARGET : LUN_RESET_UNIT);
}

static inline void resize_here(void *arg)
{
    struct asked *a = arg;

    lun_resize(a->w->lun, &a->r, a->size);
}

static inline void ask(struct world *w, struct asked *a, unsigned core, void (*fn)(void *arg))
{
    a->w = w;
    a->r.fn = asked_done;
    on_core(w, rt_host_at(w->host, core), fn, a);
}

static inline void world_close(struct world *w)
{
    struct asked a = { 0 };

    ask(w, &a, 0, quiesce_here);
    turn_while(w, !a.done);
    assert_int_equal(a.err, 0);
    for (unsigned i = 0; i < w->nexus_nr; i++)
        on_core(w, w->nexus[i].rt, detach_here, &w->itl[i]);
    w->nexus_nr = 0;
    lun_free(w->lun);
    w->lun = NULL;
}

static inline void world_end(struct world *w)
{
    char cmd[64];

    if (w->lun)
        world_close(w);
    rt_host_free(w->host);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", w->dir);
    assert_int_equal(system(cmd), 0);
}

#endif
