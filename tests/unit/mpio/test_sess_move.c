/*
 * test_sess_move.c - a session moves between reactors that run on threads of their own, under load, against the real target,
 * over TCP and over shared memory: everything that is read is what was written
 *
 * MOVES=n: so many instead of 200. How long the pauses were is printed, never asserted.
 */
#include <semaphore.h>
#include "initiator/ini.h"
#include "verify.h"

#define DEPTH     32u
#define REGION    (128u << 10) /* bytes: each slot's own part of the unit */
#define MOVES_MAX 100000u

struct slot {
    struct ini_io io;
    struct load *load;
    uint8_t *mem; /* REGION bytes, from the session */
    struct iovec iov[2];
    uint32_t seed, len;
    bool reading, parked;
};

struct load {
    struct rt_host *host;
    struct ini_sess *s;
    struct ini_lun *lun;
    struct slot slot[DEPTH];
    bool strict; /* nothing is submitted while it moves; else it is, from done() */
    bool moving, ending, arena;
    unsigned moves, moves_max, ios, ios_next, downs, wrong, busy;
    int err; /* of the first move that failed, or of the login */
    char why[320];
    uint64_t *pause;
    sem_t over;
    struct rt_msg start;
    struct ini_conf conf;
};

/* ---- load ------------------------------------------------------------------------------------------------ */

static void load_end(struct load *l);
static void move_next(struct load *l);
static void io_done(struct ini_io *io, int res);

/* Writes, then reads the same: some in the memory in one piece, some in two that do not lie together. */
static void slot_go(struct slot *x)
{
    const unsigned at = (unsigned)(x - x->load->slot);
    const uint32_t cut = x->seed % 3 ? x->len : x->len / 1024 * 512;

    if (!x->reading) {
        x->seed = verify_next(x->seed);
        x->len = (x->seed >> 8) % 8 ? 4096 : ((x->seed >> 16) % (REGION / 1024) + 1) * 512;
        verify_fill(x->mem, x->len, x->seed);
    } else {
        memset(x->mem, 0xee, x->len);
    }
    x->iov[0] = (struct iovec){ x->mem, cut };
    x->iov[1] = (struct iovec){ x->mem + cut, x->len - cut };
    x->io = (struct ini_io){ .op = x->reading ? INI_READ : INI_WRITE,
                             .off = (uint64_t)at * REGION,
                             .len = x->len,
                             .iov = x->iov,
                             .iov_nr = 2,
                             .done = io_done };
    x->load->busy++;
    ini_io_submit(x->load->lun, &x->io);
}

static void io_done(struct ini_io *io, int res)
{
    struct slot *x = container_of(io, struct slot, io);
    struct load *l = x->load;

    rt_assert_here(ini_sess_rt(l->s));
    l->busy--;
    l->ios++;
    l->wrong += res || (x->reading && !verify_right(x->mem, x->len, x->seed));
    x->reading = !x->reading;
    if (l->ending)
        load_end(l);
    else if (l->strict && l->moving)
        x->parked = true;
    else
        slot_go(x);
    if (!l->ending && !l->moving && l->ios >= l->ios_next)
        move_next(l);
}

/* ---- moves ----------------------------------------------------------------------------------------------- */

static void moved(void *user, int err, const char *why, uint64_t pause_ns)
{
    struct load *l = user;

    rt_assert_here(ini_sess_rt(l->s));
    l->moving = false;
    if (err && !l->err) {
        l->err = err;
        snprintf(l->why, sizeof(l->why), "%s", why);
    }
    l->pause[l->moves++] = pause_ns;
    l->ios_next = l->ios + (l->moves % 8 ? DEPTH : 0);
    l->ending = l->moves == l->moves_max || l->err;
    for (unsigned i = 0; i < DEPTH; i++) {
        if (!l->slot[i].parked || l->ending)
            continue;
        l->slot[i].parked = false;
        slot_go(&l->slot[i]);
    }
    if (l->ending)
        load_end(l);
    else if (l->ios >= l->ios_next)
        move_next(l);
}

static void move_next(struct load *l)
{
    l->moving = true;
    ini_sess_move(l->s, rt_host_at(l->host, ini_sess_rt(l->s) == rt_host_at(l->host, 0)), 60 * RT_S, moved, l);
}

/* ---- the session ----------------------------------------------------------------------------------------- */

static void stopped(void *user)
{
    struct load *l = user;

    ini_sess_free(l->s);
    rt_host_stop(l->host);
}

static void load_end(struct load *l)
{
    if (l->busy)
        return;
    for (unsigned i = 0; i < DEPTH; i++)
        if (l->slot[i].mem)
            ini_buf_put(l->s, l->slot[i].mem, REGION);
    ini_lun_close(l->lun);
    ini_sess_stop(l->s, true, stopped, l);
}

static void opened(void *user, int err, const char *why)
{
    struct load *l = user;
    struct ini_sess_info info;

    ini_sess_info(l->s, &info);
    l->arena = !strcmp(info.transport, "shm");
    if (err) {
        l->err = err;
        snprintf(l->why, sizeof(l->why), "%s", why);
        l->lun = NULL;
        load_end(l);
        return;
    }
    for (unsigned i = 0; i < DEPTH; i++) {
        l->slot[i].load = l;
        l->slot[i].seed = i * 77777 + 1;
        l->slot[i].mem = ini_buf_get(l->s, REGION);
        slot_go(&l->slot[i]);
    }
    move_next(l);
}

static void up(void *user)
{
    struct load *l = user;
    const int err = l->lun ? 0 : ini_lun_open(l->s, 0, &l->lun, opened, NULL, l);

    if (err)
        opened(l, err, "no memory");
}

static void down(void *user, int err, const char *why)
{
    struct load *l = user;

    print_message("down: %d %s\n", err, why);
    l->downs++;
}

static void start(struct rt_msg *m)
{
    static const struct ini_sess_events events = { .up = up, .down = down };
    struct load *l = container_of(m, struct load, start);

    l->err = ini_sess_new(&l->s, rt_self(), &l->conf, &events, l);
    if (l->err)
        rt_host_stop(l->host);
    else
        ini_sess_start(l->s);
}

/* ---- the tests ------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void run(enum ini_transport transport, bool strict)
{
    static const int cores[] = { -1, -1 };
    const struct rt_conf conf = { .cores = cores, .cores_nr = 2 };
    const char *moves = getenv("MOVES");
    struct load *l = calloc(1, sizeof(*l));

    assert_non_null(l);
    l->strict = strict;
    l->moves_max = moves ? (unsigned)strtoul(moves, NULL, 0) % (MOVES_MAX + 1) : 200;
    l->pause = calloc(l->moves_max, sizeof(*l->pause));
    strcpy(l->conf.initiator, I_IQN);
    strcpy(l->conf.target, T_IQN);
    strcpy(l->conf.portal.host, "127.0.0.1");
    l->conf.portal.port = bed.port;
    ini_settings_default(&l->conf.set);
    l->conf.set.transport = (int32_t)transport;
    assert_int_equal(rt_host_new(&l->host, &conf), 0);
    l->start.fn = start;
    rt_post(rt_host_at(l->host, 0), &l->start);
    assert_int_equal(rt_host_run(l->host), 0);
    rt_host_free(l->host);
    if (l->err)
        fail_msg("%d: %s", l->err, l->why);
    assert_int_equal(l->arena, transport == INI_TRANSPORT_SHM);
    assert_int_equal(l->wrong + l->downs, 0);
    assert_int_equal(l->moves, l->moves_max);
    qsort(l->pause, l->moves, sizeof(*l->pause), by_size);
    print_message("%u moves, %u requests; pause: median %llu us, p99 %llu us, most %llu us\n", l->moves, l->ios,
                  (unsigned long long)(l->pause[l->moves / 2] / RT_US),
                  (unsigned long long)(l->pause[l->moves - 1 - l->moves / 100] / RT_US),
                  (unsigned long long)(l->pause[l->moves - 1] / RT_US));
    free(l->pause);
    free(l);
}

static void test_moves_under_load_over_tcp(void **state)
{
    (void)state;
    run(INI_TRANSPORT_TCP, false);
    run(INI_TRANSPORT_TCP, true);
}

static void test_moves_under_load_over_shared_memory(void **state)
{
    (void)state;
    run(INI_TRANSPORT_SHM, false);
    run(INI_TRANSPORT_SHM, true);
}

static int bed_begin(void **state)
{
    (void)state;
    return verify_bed(DEPTH * REGION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves_under_load_over_tcp),
        cmocka_unit_test(test_moves_under_load_over_shared_memory),
    };

    return cmocka_run_group_tests(tests, bed_begin, verify_bed_end);
}
