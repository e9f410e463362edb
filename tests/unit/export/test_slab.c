/* Pages of a shared buffer: taken, trimmed, given back, and the buffer exchanged under them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "export/slab.h"
#include "fake_disk.h"

struct world {
    struct fake fake;
    struct exp_slab slab;
    void (*fn)(struct world *w);
};

/* The tests run on the disk's core, where a failed assertion cannot be told: they note what is wrong. */
static const char *wrong;
#define WANT(x)                                                                                                \
    do {                                                                                                       \
        if (!(x) && !wrong)                                                                                    \
            wrong = #x;                                                                                        \
    } while (0)

static int world(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    *state = w;
    wrong = NULL;
    return fake_start(&w->fake, 1 << 20, 512);
}

static void close_fn(void *arg)
{
    exp_slab_close(&((struct world *)arg)->slab);
}

static int world_end(void **state)
{
    struct world *w = *state;
    int err;

    fake_on_core(&w->fake, close_fn, w);
    err = atomic_load(&w->fake.disk.bufs) ? -1 : 0;
    fake_stop(&w->fake);
    free(w);
    return err;
}

static void open_fn(void *arg)
{
    struct world *w = arg;

    WANT(!exp_slab_open(&w->slab, &w->fake.disk));
}

static void run_fn(void *arg)
{
    struct world *w = arg;

    w->fn(w);
}

static void on_core(struct world *w, void (*fn)(struct world *w))
{
    w->fn = fn;
    fake_on_core(&w->fake, run_fn, w);
    if (wrong)
        fail_msg("%s", wrong);
}

static void begin(struct world *w)
{
    fake_on_core(&w->fake, open_fn, w);
    exp_touch(w->slab.mem, exp_slab_len(&w->slab));
}

/* The clock is read once a turn: what is to happen after a time is asked in a turn of its own. */
static void until(struct world *w, void (*fn)(struct world *w), bool (*done)(const struct world *w))
{
    for (int i = 0; i < 3000 && !done(w); i++) {
        usleep(10000);
        on_core(w, fn);
    }
    assert_true(done(w));
}

static void bounds(struct world *w)
{
    uint8_t *all;

    WANT(!exp_slab_get(&w->slab, 0));
    WANT(!exp_slab_get(&w->slab, EXP_SLAB_LEN + 1));
    WANT(!exp_slab_get(&w->slab, SIZE_MAX));
    all = exp_slab_get(&w->slab, EXP_SLAB_LEN);
    WANT(all == w->slab.mem);
    WANT(!exp_slab_get(&w->slab, 1));
    exp_slab_put(&w->slab, all, EXP_SLAB_LEN);
    WANT(!w->slab.used);
}

static void test_takes_all_and_nothing_more(void **state)
{
    struct world *w = *state;

    begin(w);
    on_core(w, bounds);
}

static void trims(struct world *w)
{
    uint8_t *a = exp_slab_get(&w->slab, (1 << 20) + EXP_PAGE), *b;

    exp_slab_trim(&w->slab, a, (1 << 20) + EXP_PAGE, EXP_PAGE + 1);
    WANT(w->slab.used == 2);
    b = exp_slab_get(&w->slab, 100);
    WANT(b == a + 2 * EXP_PAGE);
    exp_slab_trim(&w->slab, b, 100, 100); /* nothing to give back */
    WANT(w->slab.used == 3);
    exp_slab_put(&w->slab, a, EXP_PAGE + 1);
    WANT(exp_slab_get(&w->slab, 3 * EXP_PAGE) == b + EXP_PAGE); /* too long for the gap */
    WANT(exp_slab_get(&w->slab, 2 * EXP_PAGE) == a);            /* which this fills */
    exp_slab_put(&w->slab, a, 2 * EXP_PAGE);
    exp_slab_put(&w->slab, b, 100);
    exp_slab_put(&w->slab, b + EXP_PAGE, 3 * EXP_PAGE);
    WANT(!w->slab.used);
}

static void test_what_is_not_needed_is_for_the_next(void **state)
{
    struct world *w = *state;

    begin(w);
    on_core(w, trims);
}

/* At random, against a map that is plain to see. Each holds its number until it is given back. */
static void random_ops(struct world *w)
{
    static uint8_t owner[EXP_SLAB_LEN / EXP_PAGE];
    struct {
        uint8_t *mem;
        size_t len;
    } held[100] = { 0 };
    unsigned seed = 11, got = 0;

    memset(owner, 0, sizeof(owner));
    for (unsigned n = 0; n < 20000; n++) {
        const unsigned i = (unsigned)rand_r(&seed) % 100;
        size_t at, nr;

        if (!held[i].mem) {
            held[i].len = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 8 ? 70000 : 1 << 20);
            if (!(held[i].mem = exp_slab_get(&w->slab, held[i].len)))
                continue;
            got++;
            at = (size_t)(held[i].mem - w->slab.mem) / EXP_PAGE;
            nr = (held[i].len + EXP_PAGE - 1) / EXP_PAGE;
            WANT(at + nr <= sizeof(owner));
            for (size_t p = at; p < at + nr && p < sizeof(owner); p++) {
                WANT(!owner[p]);
                owner[p] = (uint8_t)(i + 1);
            }
            continue;
        }
        at = (size_t)(held[i].mem - w->slab.mem) / EXP_PAGE;
        nr = (held[i].len + EXP_PAGE - 1) / EXP_PAGE;
        if (rand_r(&seed) % 2) {
            const size_t keep = 1 + (size_t)rand_r(&seed) % held[i].len;

            exp_slab_trim(&w->slab, held[i].mem, held[i].len, keep);
            held[i].len = keep;
            memset(owner + at + (keep + EXP_PAGE - 1) / EXP_PAGE, 0, nr - (keep + EXP_PAGE - 1) / EXP_PAGE);
        } else {
            exp_slab_put(&w->slab, held[i].mem, held[i].len);
            held[i].mem = NULL;
            memset(owner + at, 0, nr);
        }
    }
    WANT(got > 2000);
    for (unsigned i = 0; i < 100; i++)
        if (held[i].mem)
            exp_slab_put(&w->slab, held[i].mem, held[i].len);
    WANT(!w->slab.used);
}

static void test_no_page_is_taken_twice(void **state)
{
    struct world *w = *state;

    begin(w);
    on_core(w, random_ops);
}

static uint8_t *kept;

static void take_one(struct world *w)
{
    WANT((kept = exp_slab_get(&w->slab, 4096)));
}

static void take_other(struct world *w)
{
    uint8_t *mem = exp_slab_get(&w->slab, 4096);

    if (mem)
        exp_slab_put(&w->slab, mem, 4096);
}

static bool is_leaving(const struct world *w)
{
    return w->slab.leaving;
}

static void put_one(struct world *w)
{
    WANT(!exp_slab_get(&w->slab, 4096));
    memset(kept, 1, 4096); /* it is ours as long as it is not given back */
    exp_slab_put(&w->slab, kept, 4096);
    WANT((kept = exp_slab_get(&w->slab, 4096)));
    WANT(!w->slab.leaving);
    WANT(mpio_buf_good(&w->fake.disk, w->slab.mem, EXP_SLAB_LEN));
    exp_slab_put(&w->slab, kept, 4096);
}

/* A new login, say: not while something of it is in use. */
static void test_buffer_that_is_not_good_any_more_is_exchanged_when_all_is_back(void **state)
{
    struct world *w = *state;

    begin(w);
    on_core(w, take_one);
    atomic_store(&w->fake.disk.bad_bufs, 1);
    until(w, take_other, is_leaving);
    assert_int_equal(atomic_load(&w->fake.disk.bufs), 1);
    on_core(w, put_one);
    assert_int_equal(atomic_load(&w->fake.disk.bufs), 1);
}

static void put_back(struct world *w)
{
    exp_slab_put(&w->slab, kept, 4096);
    WANT(!w->slab.used);
}

static const uint8_t *old;

static void note_old(struct world *w)
{
    old = w->slab.mem;
}

static bool looked(const struct world *w)
{
    return w->slab.look_ns > 100 * RT_MS + rt_clock(w->fake.rt);
}

/* Nothing better is to be had: what is there goes on. */
static void test_buffer_stays_where_no_other_is_better(void **state)
{
    struct world *w = *state;

    begin(w);
    on_core(w, note_old);
    atomic_store(&w->fake.disk.buf_room, 1);
    until(w, take_other, looked);
    assert_ptr_equal(w->slab.mem, old);
    on_core(w, take_one);
    assert_ptr_equal(kept, old);
    on_core(w, put_back);
}

static void look(struct world *w)
{
    exp_slab_look(&w->slab);
}

static void is_another(struct world *w)
{
    WANT(w->slab.mem != old);
    WANT(!w->slab.leaving && !w->slab.must);
}

static void is_the_same(struct world *w)
{
    WANT(w->slab.mem == old);
}

/* Nobody takes anything, and still it goes: its session waits for it. */
static void test_buffer_whose_owner_waits_is_exchanged_at_once(void **state)
{
    struct world *w = *state;

    begin(w);
    on_core(w, note_old);
    on_core(w, look);
    on_core(w, is_the_same); /* it is good */
    atomic_store(&w->fake.disk.bad_bufs, 1);
    on_core(w, look);
    on_core(w, is_another);
    assert_int_equal(atomic_load(&w->fake.disk.bufs), 1);
}

static void test_buffer_whose_owner_waits_goes_with_the_last_of_it(void **state)
{
    struct world *w = *state;

    begin(w);
    on_core(w, note_old);
    on_core(w, take_one);
    atomic_store(&w->fake.disk.bad_bufs, 1);
    atomic_store(&w->fake.disk.buf_room, 1); /* and for one that is no better */
    on_core(w, look);
    on_core(w, is_the_same);
    on_core(w, put_back);
    on_core(w, is_another);
    assert_int_equal(atomic_load(&w->fake.disk.bufs), 1);
}

static void half_is_all(struct world *w)
{
    WANT(w->slab.pages == EXP_SLAB_LEN_MIN / EXP_PAGE);
    WANT(!exp_slab_get(&w->slab, EXP_SLAB_LEN_MIN + 1));
    WANT((kept = exp_slab_get(&w->slab, EXP_SLAB_LEN_MIN)));
    exp_slab_put(&w->slab, kept, EXP_SLAB_LEN_MIN);
}

static void test_takes_less_where_there_is_no_room_for_more(void **state)
{
    struct world *w = *state;

    atomic_store(&w->fake.disk.buf_room, EXP_SLAB_LEN_MIN);
    begin(w);
    on_core(w, half_is_all);
}

/* No good one at all: it opens with what there is. */
static void test_opens_with_plain_memory(void **state)
{
    struct world *w = *state;

    atomic_store(&w->fake.disk.buf_room, 1);
    begin(w);
    on_core(w, take_one);
    on_core(w, put_back);
}

static void open_refused(struct world *w)
{
    void *mem[ARRAY_SIZE(w->fake.disk.buf)];

    for (size_t i = 0; i < ARRAY_SIZE(mem); i++)
        mem[i] = mpio_buf_get(&w->fake.disk, 4096);
    WANT(exp_slab_open(&w->slab, &w->fake.disk) == -ENOMEM);
    for (size_t i = 0; i < ARRAY_SIZE(mem); i++)
        mpio_buf_put(&w->fake.disk, mem[i], 4096);
}

static void test_no_memory_is_an_error_and_closes(void **state)
{
    struct world *w = *state;

    on_core(w, open_refused);
}

#define T(name) cmocka_unit_test_setup_teardown(test_##name, world, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(takes_all_and_nothing_more),
        T(what_is_not_needed_is_for_the_next),
        T(no_page_is_taken_twice),
        T(buffer_that_is_not_good_any_more_is_exchanged_when_all_is_back),
        T(buffer_stays_where_no_other_is_better),
        T(buffer_whose_owner_waits_is_exchanged_at_once),
        T(buffer_whose_owner_waits_goes_with_the_last_of_it),
        T(takes_less_where_there_is_no_room_for_more),
        T(opens_with_plain_memory),
        T(no_memory_is_an_error_and_closes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
