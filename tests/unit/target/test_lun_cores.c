/*
 * test_lun_cores.c - cores that run at the same time: I/O, COMPARE AND WRITE, reservations and resets at once
 *
 * Each nexus keeps commands going by itself, on a thread of its own. Counters in blocks are only ever
 * raised by COMPARE AND WRITE, and must end where the successes say; every command must come back once.
 */
#include "tests/unit/target/lun_test.h"

enum { CORES = 3, WIDTH = 6, COMMANDS = 3000, COUNTERS = 4 };

struct slot {
    struct scsi_task t;
    uint8_t cdb[16];
    struct iovec out_iov, in_iov;
    uint8_t *out, *in;
    struct host *h;
    struct rt_op later;
    bool ran, over;
    unsigned counter;
};

struct host {
    struct rt_msg msg;
    struct world *w;
    unsigned i, left, out;
    uint64_t seed;
    uint32_t seen[COUNTERS], raised[COUNTERS];
    struct slot slots[WIDTH];
};

static _Atomic unsigned left;              /* hosts and the one who resets */

/* When all are through: the counters are read, the unit goes, the nexuses leave. */
struct finale {
    struct rt_msg msg;
    struct world *w;
    struct lun_request quiesce;
    struct rt_msg leave[CORES];
    _Atomic unsigned leaving;
    unsigned counter;
    uint32_t end[COUNTERS];
};
static struct finale finale;

static void one_less(void)
{
    if (atomic_fetch_sub(&left, 1) == 1)
        rt_post(rt_host_at(finale.w->host, 0), &finale.msg);
}

static uint32_t next_random(struct host *h)
{
    h->seed = h->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(h->seed >> 33);
}

static void slot_start(struct slot *s);

static void slot_over(struct slot *s)
{
    struct host *h = s->h;
    const uint8_t op = s->cdb[0];

    if (op == SCSI_COMPARE_AND_WRITE && s->t.status == SCSI_GOOD) {
        h->raised[s->counter]++;
        h->seen[s->counter]++;
    } else if (op == SCSI_READ_16 && s->t.status == SCSI_GOOD && s->cdb[9] < COUNTERS) {
        h->seen[s->counter] = load_be32(s->in);
    }
    lun_finish(&s->t);
    h->out--;
    if (h->left)
        slot_start(s);
    else if (!h->out)
        one_less();
}

static void slot_later(struct rt_op *op, int res)
{
    slot_over(container_of(op, struct slot, later));
}

/* Never from inside: done comes while the unit holds its lists. */
static void slot_done(struct scsi_task *t)
{
    struct slot *s = container_of(t, struct slot, t);

    assert_false(s->over);
    s->over = true;
    s->later.done = slot_later;
    rt_defer(t->nexus->rt, &s->later);
}

static void slot_abort(struct scsi_task *t, bool tas)
{
    struct slot *s = container_of(t, struct slot, t);

    assert_true(s->ran);
    lun_cancel(t);
}

static const struct nexus_ops slot_ops = { .abort = slot_abort };

static void slot_fill(struct slot *s)
{
    struct host *h = s->h;
    const uint32_t dice = next_random(h) % 100;
    uint32_t out = 0, in = 0;

    memset(s->cdb, 0, sizeof(s->cdb));
    s->counter = next_random(h) % COUNTERS;
    if (dice < 40) {
        s->cdb[0] = SCSI_COMPARE_AND_WRITE;
        s->cdb[9] = (uint8_t)s->counter;
        s->cdb[13] = 1;
        memset(s->out, 0, 1024);
        store_be32(&s->out[0], h->seen[s->counter]);
        store_be32(&s->out[512], h->seen[s->counter] + 1);
        out = 1024;
    } else if (dice < 70) {
        memcpy(s->cdb, OP16(SCSI_READ_16, 0, s->counter, 1), 16);
        in = 512;
    } else if (dice < 90) {
        memcpy(s->cdb, OP16(SCSI_WRITE_16, 0, COUNTERS + next_random(h) % 100, 1), 16);
        out = 512;
    } else if (dice < 96) {
        s->cdb[0] = SCSI_PR_OUT;
        s->cdb[1] = dice & 1 ? 6 : 0;
        s->cdb[8] = 24;
        memset(s->out, 0, 24);
        store_be64(&s->out[dice & 1 ? 8 : 0], h->i + 1);
        out = 24;
    } else {
        s->cdb[0] = SCSI_TEST_UNIT_READY;
    }
    s->t = (struct scsi_task){
        .nexus = &h->w->nexus[h->i],
        .itl = &h->w->itl[h->i],
        .cdb = s->cdb,
        .cdb_len = 16,
        .edtl = out + in,
        .read = in,
        .write = out,
        .attr = dice == 75 ? ISCSI_ATTR_ORDERED : ISCSI_ATTR_SIMPLE,
        .done = slot_done,
    };
}

static void slot_start(struct slot *s)
{
    struct host *h = s->h;

    h->left--;
    h->out++;
    slot_fill(s);
    s->over = s->ran = false;
    if (lun_start(&s->t) == LUN_DONE) {
        s->ran = true;
        slot_done(&s->t);
        return;
    }
    s->t.out_got = s->t.out_len < s->t.edtl ? s->t.out_len : s->t.edtl;
    s->out_iov = (struct iovec){ s->out, s->t.out_got };
    s->in_iov = (struct iovec){ s->in, s->t.in_len };
    s->t.out_iov = &s->out_iov;
    s->t.in_iov = &s->in_iov;
    s->t.out_nr = s->t.in_nr = 1;
    s->ran = true;
    lun_run(&s->t);
}

static void host_start(struct rt_msg *m)
{
    struct host *h = container_of(m, struct host, msg);

    itl_attach(&h->w->itl[h->i], &h->w->nexus[h->i], h->w->lun, 0, false);
    for (unsigned i = 0; i < WIDTH; i++)
        slot_start(&h->slots[i]);
}

struct resets {
    struct asked a;
    struct rt_msg msg;
    unsigned left;
};

static void reset_again(struct lun_request *r, int err)
{
    struct resets *s = container_of(r, struct resets, a.r);

    assert_int_equal(err, 0);
    if (s->left--)
        lun_reset(s->a.w->lun, r, NULL, LUN_RESET_UNIT);
    else
        one_less();
}

static void resets_start(struct rt_msg *m)
{
    struct resets *s = container_of(m, struct resets, msg);

    s->a.r.fn = reset_again;
    lun_reset(s->a.w->lun, &s->a.r, NULL, LUN_RESET_UNIT);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

static void leave(struct rt_msg *m)
{
    const unsigned i = (unsigned)(m - finale.leave);

    assert_int_equal(finale.w->itl[i].tasks, 0);
    itl_detach(&finale.w->itl[i]);
    if (atomic_fetch_sub(&finale.leaving, 1) == 1)
        rt_host_stop(finale.w->host);
}

static void quiet(struct lun_request *r, int err)
{
    assert_int_equal(err, 0);
    for (unsigned i = 0; i < CORES; i++) {
        finale.leave[i].fn = leave;
        rt_post(rt_host_at(finale.w->host, i), &finale.leave[i]);
    }
}

static void count_next(struct slot *s);

static void count_read(struct rt_op *op, int res)
{
    struct slot *s = container_of(op, struct slot, later);

    lun_finish(&s->t);
    if (s->t.status == SCSI_GOOD)           /* else a unit attention that was left */
        finale.end[finale.counter++] = load_be32(s->in);
    count_next(s);
}

static void count_done(struct scsi_task *t)
{
    struct slot *s = container_of(t, struct slot, t);

    s->later.done = count_read;
    rt_defer(t->nexus->rt, &s->later);
}

static void count_next(struct slot *s)
{
    if (finale.counter == COUNTERS) {
        finale.quiesce.fn = quiet;
        lun_quiesce(finale.w->lun, &finale.quiesce);
        return;
    }
    memcpy(s->cdb, OP16(SCSI_READ_16, 0, finale.counter, 1), 16);
    s->t = (struct scsi_task){
        .nexus = s->t.nexus, .itl = s->t.itl, .cdb = s->cdb, .cdb_len = 16, .edtl = 512, .read = true,
        .attr = ISCSI_ATTR_SIMPLE, .done = count_done,
    };
    if (lun_start(&s->t) == LUN_DONE) {
        count_done(&s->t);
        return;
    }
    s->in_iov = (struct iovec){ s->in, 512 };
    s->t.in_iov = &s->in_iov;
    s->t.in_nr = 1;
    lun_run(&s->t);
}

static struct host hosts[CORES];

static void finale_start(struct rt_msg *m)
{
    atomic_store(&finale.leaving, CORES);
    count_next(&hosts[0].slots[0]);
}

static void host_set(struct world *w, unsigned i)
{
    struct host *h = &hosts[i];
    struct nexus *n = &w->nexus[i];

    *n = (struct nexus){ .ops = &slot_ops, .rt = rt_host_at(w->host, i), .tpgt = 1, .rel_port = 1 };
    snprintf(n->initiator, sizeof(n->initiator), "iqn.2024-01.org.example:host%u", i);
    strcpy(n->target, "iqn.2024-01.org.example:target");
    *h = (struct host){ .msg.fn = host_start, .w = w, .i = i, .left = COMMANDS, .seed = 42 + i };
    for (unsigned j = 0; j < WIDTH; j++) {
        h->slots[j].h = h;
        h->slots[j].out = aligned_alloc(4096, 4096);
        h->slots[j].in = aligned_alloc(4096, 4096);
    }
    rt_post(n->rt, &h->msg);
}

static void check_all(const char *kind)
{
    static struct world w;
    struct lun_conf conf = { .be = { .kind = kind, .size = 1 << 20 }, .block_len = 512 };
    struct resets resets = { .msg.fn = resets_start, .left = 20 };
    char path[64];

    world_host(&w, CORES);
    snprintf(path, sizeof(path), "%s/disk", w.dir);
    conf.be.path = strcmp(kind, "file") ? NULL : path;
    world_open(&w, &conf);
    memset(&finale, 0, sizeof(finale));
    finale.w = &w;
    finale.msg.fn = finale_start;
    atomic_store(&left, CORES + 1);
    for (unsigned i = 0; i < CORES; i++)
        host_set(&w, i);
    resets.a.w = &w;
    rt_post(rt_host_at(w.host, 1), &resets.msg);
    assert_int_equal(rt_host_run(w.host), 0);
    for (unsigned c = 0; c < COUNTERS; c++) {
        uint32_t sum = 0;

        for (unsigned i = 0; i < CORES; i++)
            sum += hosts[i].raised[c];
        assert_true(sum > 0);
        assert_int_equal(finale.end[c], sum);
    }
    for (unsigned i = 0; i < CORES; i++) {
        for (unsigned j = 0; j < WIDTH; j++) {
            free(hosts[i].slots[j].out);
            free(hosts[i].slots[j].in);
        }
    }
    lun_free(w.lun);
    w.lun = NULL;
    world_end(&w);
}

static void test_memory(void **state)
{
    check_all("ram");
}

static void test_file(void **state)
{
    check_all("file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
