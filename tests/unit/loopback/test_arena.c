/* test_arena.c - what an arena hands out, and above all what it never hands out again */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loopback/arena.h"
#include "reactor/uring/rt_internal.h"

#include <cmocka.h>

#define MIB (1ul << 20)

static struct loop_arena *arena_make(size_t len)
{
    struct loop_arena *a = NULL;

    assert_int_equal(loop_arena_new(&a, len), 0);
    loop_arena_check(a);
    return a;
}

static uint8_t *arena_mem(const struct loop_arena *a)
{
    return rt_shm_mem(loop_arena_shm(a));
}

/* The arena as the peer has it: a mapping of its own of the same memory. */
static uint8_t *peer_map(const struct loop_arena *a)
{
    struct rt_shm *shm = loop_arena_shm(a);
    uint8_t *mem = mmap(NULL, rt_shm_len(shm), PROT_READ | PROT_WRITE, MAP_SHARED, rt_shm_fd(shm), 0);

    assert_true(mem != MAP_FAILED);
    return mem;
}

static void peer_unmap(const struct loop_arena *a, uint8_t *mem)
{
    munmap(mem, rt_shm_len(loop_arena_shm(a)));
}

/* How many pages of a half can be had one by one, and where; they are given back. */
static unsigned pages_left(struct loop_arena *a, bool standins)
{
    static void *page[LOOP_ARENA_MIN / LOOP_PAGE];
    unsigned n = 0;

    for (; n < ARRAY_SIZE(page); n++)
        if (!(page[n] = standins ? loop_arena_get_standin(a, LOOP_PAGE) : loop_arena_get(a, LOOP_PAGE)))
            break;
    for (unsigned i = 0; i < n; i++) {
        if (standins)
            loop_arena_put_standin(a, page[i], LOOP_PAGE);
        else
            loop_arena_put(a, page[i], LOOP_PAGE);
    }
    loop_arena_check(a);
    return n;
}

#define HALF_PAGES ((unsigned)(LOOP_ARENA_MIN / 2 / LOOP_PAGE)) /* of the smallest arena */

/* ---- sizes ------------------------------------------------------------------------------------------- */

static void test_new_refuses_lengths_that_are_none(void **state)
{
    static const size_t bad[] = { 0,
                                  8 * MIB,
                                  LOOP_ARENA_MIN - 1,
                                  LOOP_ARENA_MIN + 1,
                                  LOOP_ARENA_MIN + 4 * MIB,
                                  LOOP_ARENA_MAX + 8 * MIB,
                                  SIZE_MAX };
    struct loop_arena *a = (void *)&bad;

    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(loop_arena_new(&a, bad[i]), -EINVAL);
        assert_ptr_equal(a, &bad);
    }
}

/* Whatever the length: a quarter is there from the start and again when all came back, more never is. */
static void test_a_quarter_is_the_most(void **state)
{
    for (size_t len = LOOP_ARENA_MIN; len <= 96 * MIB; len += 8 * MIB) {
        struct loop_arena *a = arena_make(len);

        for (unsigned round = 0; round < 3; round++) {
            uint8_t *mem = loop_arena_get(a, len / 4), *other = loop_arena_get_standin(a, len / 4);

            assert_non_null(mem);
            assert_non_null(other);
            assert_true(mem >= arena_mem(a) && mem + len / 4 <= arena_mem(a) + len / 2);
            assert_true(other >= arena_mem(a) + len / 2 && other + len / 4 <= arena_mem(a) + len);
            mem[0] = mem[len / 4 - 1] = other[0] = other[len / 4 - 1] = 1;
            loop_arena_check(a);
            loop_arena_put(a, mem, len / 4);
            loop_arena_put_standin(a, other, len / 4);
            loop_arena_check(a);
        }
        assert_null(loop_arena_get(a, len / 4 + 1));
        assert_null(loop_arena_get_standin(a, len / 4 + 1));
        assert_null(loop_arena_get(a, SIZE_MAX));
        assert_null(loop_arena_get(a, 0));
        loop_arena_drop(a);
    }
}

static void test_the_largest_arena_is_had(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MAX);
    void *mem = loop_arena_get(a, LOOP_ARENA_MAX / 4), *more = loop_arena_get(a, LOOP_ARENA_MAX / 4);

    assert_non_null(mem);
    assert_non_null(more);
    assert_null(loop_arena_get(a, 1));
    loop_arena_put(a, mem, LOOP_ARENA_MAX / 4);
    loop_arena_put(a, more, LOOP_ARENA_MAX / 4);
    loop_arena_check(a);
    loop_arena_drop(a);
}

/* One byte more than a power of two costs one page more, not twice as much. */
static void test_a_buffer_costs_the_pages_it_needs(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    void *mem = loop_arena_get(a, MIB + 1);

    assert_int_equal(pages_left(a, false), HALF_PAGES - 257);
    loop_arena_put(a, mem, MIB + 1);
    assert_int_equal(pages_left(a, false), HALF_PAGES);
    mem = loop_arena_get(a, LOOP_PAGE + 1);
    assert_int_equal(pages_left(a, false), HALF_PAGES - 2);
    loop_arena_put(a, mem, LOOP_PAGE + 1);
    mem = loop_arena_get(a, 1);
    assert_int_equal((uintptr_t)mem % LOOP_PAGE, 0);
    loop_arena_put(a, mem, 1);
    loop_arena_drop(a);
}

static void test_neither_half_starves_the_other(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    void *mem[2], *other[2];

    for (unsigned i = 0; i < 2; i++)
        assert_non_null(mem[i] = loop_arena_get(a, 4 * MIB));
    assert_null(loop_arena_get(a, 1));
    assert_int_equal(pages_left(a, true), HALF_PAGES);
    for (unsigned i = 0; i < 2; i++)
        assert_non_null(other[i] = loop_arena_get_standin(a, 4 * MIB));
    assert_null(loop_arena_get_standin(a, 1));
    for (unsigned i = 0; i < 2; i++)
        loop_arena_put(a, mem[i], 4 * MIB);
    assert_null(loop_arena_get_standin(a, 1));
    assert_int_equal(pages_left(a, false), HALF_PAGES);
    for (unsigned i = 0; i < 2; i++)
        loop_arena_put_standin(a, other[i], 4 * MIB);
    loop_arena_drop(a);
}

/* Small blocks that are kept for the next request do not stand in the way of a large one. */
static void test_small_blocks_come_together_again(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    void *big[2];

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pages_left(a, false), HALF_PAGES);
        assert_non_null(big[0] = loop_arena_get(a, 4 * MIB));
        assert_non_null(big[1] = loop_arena_get(a, 4 * MIB));
        loop_arena_put(a, big[0], 4 * MIB);
        loop_arena_put(a, big[1], 4 * MIB);
    }
    loop_arena_drop(a);
}

/* ---- life -------------------------------------------------------------------------------------------- */

static void test_a_buffer_outlives_who_made_the_arena(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    uint8_t *mem = loop_arena_get(a, 10000), *more = loop_arena_get(a, 5);

    loop_arena_drop(a);
    memset(mem, 7, 10000);
    loop_arena_put(a, more, 5);
    assert_int_equal(mem[9999], 7);
    loop_arena_put(a, mem, 10000); /* the last: with SAN=1 a leak would be seen */
    loop_arena_drop(NULL);
}

/* Stand-ins that nobody gives back are nobody's reason to keep it. */
static void test_stand_ins_keep_nothing_alive(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);

    assert_non_null(loop_arena_get_standin(a, 4096));
    loop_arena_drop(a);
}

/* Return: whether it ends the program. */
static bool aborts(void (*act)(struct loop_arena *a, void *mem), struct loop_arena *a, void *mem)
{
    int status;
    pid_t pid;

    fflush(NULL);
    if (!(pid = fork())) {
        freopen("/dev/null", "w", stderr);
        signal(SIGABRT, SIG_DFL);
        act(a, mem);
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void put_8192(struct loop_arena *a, void *mem)
{
    loop_arena_put(a, mem, 8192);
}

static void put_twice(struct loop_arena *a, void *mem)
{
    loop_arena_put(a, mem, 8192);
    loop_arena_put(a, mem, 8192);
}

static void put_other_length(struct loop_arena *a, void *mem)
{
    loop_arena_put(a, mem, 4096);
}

static void put_middle(struct loop_arena *a, void *mem)
{
    loop_arena_put(a, (uint8_t *)mem + 4096, 4096);
}

static void put_as_stand_in(struct loop_arena *a, void *mem)
{
    loop_arena_put_standin(a, mem, 8192);
}

static void put_beside(struct loop_arena *a, void *mem)
{
    loop_arena_put(a, (uint8_t *)mem - 4096, 8192);
}

static void test_a_wrong_put_is_our_bug(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    void *mem = loop_arena_get(a, 8192);

    assert_false(aborts(put_8192, a, mem));
    assert_true(aborts(put_twice, a, mem));
    assert_true(aborts(put_other_length, a, mem));
    assert_true(aborts(put_middle, a, mem));
    assert_true(aborts(put_as_stand_in, a, mem));
    assert_true(aborts(put_beside, a, mem));
    loop_arena_put(a, mem, 8192);
    loop_arena_drop(a);
}

/* ---- what the peer reaches --------------------------------------------------------------------------- */

static void test_shared_is_judged_without_wrapping(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    uint8_t *mem = arena_mem(a), outside[16];
    const size_t len = LOOP_ARENA_MIN;

    assert_true(loop_arena_shared(a, mem, len));
    assert_true(loop_arena_shared(a, mem + 1, len - 1));
    assert_true(loop_arena_shared(a, mem + len - 1, 1));
    assert_true(loop_arena_shared(a, mem + len / 2 - 1, 2));
    assert_false(loop_arena_shared(a, mem + 1, len));
    assert_false(loop_arena_shared(a, mem, len + 1));
    assert_false(loop_arena_shared(a, mem + len - 1, 2));
    assert_false(loop_arena_shared(a, mem + 4096, SIZE_MAX));
    assert_false(loop_arena_shared(a, mem + 4096, SIZE_MAX - 4095));
    assert_false(loop_arena_shared(a, mem + len, 1));
    assert_false(loop_arena_shared(a, (void *)((uintptr_t)mem - 1), 2));
    assert_false(loop_arena_shared(a, (void *)((uintptr_t)mem - 1), SIZE_MAX));
    assert_false(loop_arena_shared(a, outside, sizeof(outside)));
    assert_false(loop_arena_shared(a, NULL, 1));
    assert_true(loop_arena_has(a, mem));
    assert_true(loop_arena_has(a, mem + len - 1));
    assert_false(loop_arena_has(a, mem + len));
    assert_false(loop_arena_has(a, (void *)((uintptr_t)mem - 1)));
    assert_false(loop_arena_has(a, outside));
    assert_false(loop_arena_has(a, NULL));
    loop_arena_drop(a);
}

static void test_what_is_revoked_is_ours_alone(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    uint8_t *mem = loop_arena_get(a, 5 * LOOP_PAGE), *peer = peer_map(a), *theirs = peer + (mem - arena_mem(a));

    memset(mem, 'a', 5 * LOOP_PAGE);
    assert_int_equal(theirs[LOOP_PAGE], 'a');
    /* The last byte of page 1 to the first of page 3: both go as wholes. */
    assert_int_equal(loop_arena_revoke(a, mem + 2 * LOOP_PAGE - 1, LOOP_PAGE + 2), 0);
    memset(theirs, 'x', 5 * LOOP_PAGE);
    assert_int_equal(mem[0], 'x');
    assert_int_equal(mem[LOOP_PAGE - 1], 'x');
    for (size_t i = LOOP_PAGE; i < 4 * LOOP_PAGE; i++)
        assert_int_equal(mem[i], 'a');
    assert_int_equal(mem[4 * LOOP_PAGE], 'x');
    mem[LOOP_PAGE] = 'b';
    assert_int_equal(theirs[LOOP_PAGE], 'x');

    assert_true(loop_arena_has(a, mem + LOOP_PAGE));
    assert_true(loop_arena_shared(a, mem, LOOP_PAGE));
    assert_false(loop_arena_shared(a, mem, LOOP_PAGE + 1));
    assert_false(loop_arena_shared(a, mem + 2 * LOOP_PAGE, 1));
    assert_false(loop_arena_shared(a, mem + 4 * LOOP_PAGE - 1, 2));
    assert_true(loop_arena_shared(a, mem + 4 * LOOP_PAGE, LOOP_PAGE));
    assert_false(loop_arena_shared(a, mem, 5 * LOOP_PAGE));
    loop_arena_check(a);
    loop_arena_put(a, mem, 5 * LOOP_PAGE);
    loop_arena_check(a);
    peer_unmap(a, peer);
    loop_arena_drop(a);
}

/* A page that two requests use, and one that goes twice, keep what they hold. */
static void test_revoking_again_changes_nothing(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    uint8_t *mem = loop_arena_get(a, 3 * LOOP_PAGE);

    assert_int_equal(loop_arena_revoke(a, mem + 100, 512), 0);
    memset(mem, 'z', 3 * LOOP_PAGE);
    assert_int_equal(loop_arena_revoke(a, mem + 700, 512), 0);
    assert_int_equal(loop_arena_revoke(a, mem, 3 * LOOP_PAGE), 0);
    assert_int_equal(loop_arena_revoke(a, mem, 3 * LOOP_PAGE), 0);
    for (size_t i = 0; i < 3 * LOOP_PAGE; i++)
        assert_int_equal(mem[i], 'z');
    loop_arena_put(a, mem, 3 * LOOP_PAGE);
    assert_int_equal(pages_left(a, false), HALF_PAGES - 3);
    loop_arena_drop(a);
}

/* The system has no room for another mapping, for a while. */
static void test_what_could_not_be_revoked_is_not_taken_for_revoked(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    uint8_t *mem = loop_arena_get(a, 4 * LOOP_PAGE), *peer = peer_map(a), *theirs = peer + (mem - arena_mem(a));
    struct rlimit was, none;

    memset(mem, 'a', 4 * LOOP_PAGE);
    assert_int_equal(getrlimit(RLIMIT_AS, &was), 0);
    none = (struct rlimit){ .rlim_cur = LOOP_PAGE, .rlim_max = was.rlim_max };
    for (unsigned i = 0; i < 2; i++) {
        int err;

        assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
        err = loop_arena_revoke(a, mem, 4 * LOOP_PAGE);
        assert_int_equal(setrlimit(RLIMIT_AS, &was), 0);
        assert_int_equal(err, -ENOMEM);
        assert_true(loop_arena_shared(a, mem, 4 * LOOP_PAGE));
    }
    assert_int_equal(loop_arena_revoke(a, mem, 4 * LOOP_PAGE), 0);
    assert_false(loop_arena_shared(a, mem, LOOP_PAGE));
    memset(theirs, 'x', 4 * LOOP_PAGE);
    for (size_t i = 0; i < 4 * LOOP_PAGE; i++)
        assert_int_equal(mem[i], 'a');
    loop_arena_check(a);
    loop_arena_put(a, mem, 4 * LOOP_PAGE);
    assert_int_equal(pages_left(a, false), HALF_PAGES - 4);
    peer_unmap(a, peer);
    loop_arena_drop(a);
}

static void test_many_small_holes_wear_an_arena_too(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_DEFAULT);
    uint8_t *mem[2] = { loop_arena_get(a, 6 * MIB), loop_arena_get(a, 6 * MIB) };
    unsigned n = 0;

    for (; n <= 256; n++) {
        assert_false(loop_arena_worn(a));
        assert_int_equal(loop_arena_revoke(a, mem[n % 2] + n * LOOP_PAGE, 1), 0);
    }
    assert_true(loop_arena_worn(a));
    loop_arena_put(a, mem[0], 6 * MIB);
    loop_arena_put(a, mem[1], 6 * MIB);
    loop_arena_check(a);
    loop_arena_drop(a);
}

static void test_revoked_pages_are_not_given_out_again(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    uint8_t *mem = loop_arena_get(a, 64 * LOOP_PAGE), *gone = mem + 17 * LOOP_PAGE, *page[HALF_PAGES];
    unsigned n = 0;

    assert_int_equal(loop_arena_revoke(a, gone, LOOP_PAGE), 0);
    assert_int_equal(loop_arena_revoke(a, mem + 63 * LOOP_PAGE, LOOP_PAGE), 0);
    assert_int_equal(loop_arena_revoke(a, mem, 1), 0);
    loop_arena_put(a, mem, 64 * LOOP_PAGE); /* what is clean of it comes back */
    loop_arena_check(a);
    for (uint8_t *p; (p = loop_arena_get(a, LOOP_PAGE)); page[n++] = p) {
        assert_true(p != gone && p != mem && p != mem + 63 * LOOP_PAGE);
        assert_true(loop_arena_shared(a, p, LOOP_PAGE));
        assert_true(n < HALF_PAGES);
    }
    assert_int_equal(n, HALF_PAGES - 3);
    while (n)
        loop_arena_put(a, page[--n], LOOP_PAGE);
    loop_arena_check(a);
    assert_int_equal(pages_left(a, true), HALF_PAGES);
    loop_arena_drop(a);
}

static void test_a_lost_stand_in_does_not_come_again(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    uint8_t *lost = loop_arena_get_standin(a, 3 * LOOP_PAGE - 5), *kept = loop_arena_get_standin(a, LOOP_PAGE),
            *p;

    loop_arena_lose_standin(a, lost, 3 * LOOP_PAGE - 5);
    loop_arena_check(a);
    loop_arena_put_standin(a, kept, LOOP_PAGE);
    assert_int_equal(pages_left(a, true), HALF_PAGES - 3);
    assert_int_equal(pages_left(a, false), HALF_PAGES);
    while ((p = loop_arena_get_standin(a, LOOP_PAGE)))
        assert_true(p + LOOP_PAGE <= lost || p >= lost + 3 * LOOP_PAGE);
    loop_arena_drop(a);
}

static void test_worn_is_more_than_a_quarter_of_either_half(void **state)
{
    struct loop_arena *a = arena_make(LOOP_ARENA_MIN);
    const size_t quarter = LOOP_ARENA_MIN / 2 / 4;
    uint8_t *mem = loop_arena_get(a, quarter + LOOP_PAGE), *page;

    assert_false(loop_arena_worn(a));
    assert_int_equal(loop_arena_revoke(a, mem, quarter), 0);
    assert_false(loop_arena_worn(a));
    assert_int_equal(loop_arena_revoke(a, mem + quarter, 1), 0);
    assert_true(loop_arena_worn(a));
    loop_arena_put(a, mem, quarter + LOOP_PAGE);
    assert_true(loop_arena_worn(a));
    loop_arena_drop(a);

    a = arena_make(LOOP_ARENA_MIN);
    loop_arena_lose_standin(a, loop_arena_get_standin(a, quarter), quarter);
    assert_false(loop_arena_worn(a));
    page = loop_arena_get_standin(a, 1);
    loop_arena_lose_standin(a, page, 1);
    assert_true(loop_arena_worn(a));
    loop_arena_drop(a);
}

/* ---- at random --------------------------------------------------------------------------------------- */

struct out { /* a buffer that is out */
    uint8_t *mem;
    size_t len;
    bool standin;
    uint8_t fill; /* in the first and last byte of each of its pages */
};

struct model {
    struct loop_arena *a;
    uint8_t *peer;
    uint64_t seed;
    bool owned[LOOP_ARENA_MIN / LOOP_PAGE], gone[LOOP_ARENA_MIN / LOOP_PAGE];
    struct out out[300];
    unsigned out_nr, gone_nr;
};

static uint64_t draw(struct model *m, uint64_t below)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return (m->seed >> 11) % below;
}

static size_t model_page(const struct model *m, const uint8_t *mem)
{
    return (size_t)(mem - arena_mem(m->a)) / LOOP_PAGE;
}

static void model_get(struct model *m)
{
    struct out o = { .len = 1 + draw(m, 1ull << (1 + draw(m, 22))),
                     .standin = draw(m, 2),
                     .fill = (uint8_t)draw(m, 256) };
    size_t first;

    if (draw(m, 2)) /* the common sizes, which have a way of their own */
        o.len = (size_t)LOOP_PAGE << draw(m, 8);
    if (m->out_nr == ARRAY_SIZE(m->out))
        return;
    o.mem = o.standin ? loop_arena_get_standin(m->a, o.len) : loop_arena_get(m->a, o.len);
    if (!o.mem)
        return;
    first = model_page(m, o.mem);
    assert_int_equal((uintptr_t)o.mem % LOOP_PAGE, 0);
    assert_true(loop_arena_shared(m->a, o.mem, o.len));
    for (size_t at = 0; at < o.len; at += LOOP_PAGE) {
        const size_t page = first + at / LOOP_PAGE;

        assert_true(page < ARRAY_SIZE(m->owned) && (page >= HALF_PAGES) == o.standin);
        assert_false(m->owned[page] || m->gone[page]);
        m->owned[page] = true;
        o.mem[at] = o.mem[at + LOOP_PAGE - 1] = o.fill;
    }
    m->out[m->out_nr++] = o;
}

static void out_check(const struct out *o)
{
    for (size_t at = 0; at < o->len; at += LOOP_PAGE)
        assert_true(o->mem[at] == o->fill && o->mem[at + LOOP_PAGE - 1] == o->fill);
}

static void model_put(struct model *m, unsigned i)
{
    const struct out o = m->out[i];
    const size_t first = model_page(m, o.mem);
    const bool lose = o.standin && m->gone_nr < HALF_PAGES && !draw(m, 500);

    out_check(&o);
    for (size_t at = 0; at < o.len; at += LOOP_PAGE) {
        const size_t page = first + at / LOOP_PAGE;

        m->owned[page] = false;
        if (lose && !m->gone[page]) {
            m->gone[page] = true;
            m->gone_nr++;
        }
    }
    if (lose)
        loop_arena_lose_standin(m->a, o.mem, o.len);
    else if (o.standin)
        loop_arena_put_standin(m->a, o.mem, o.len);
    else
        loop_arena_put(m->a, o.mem, o.len);
    m->out[i] = m->out[--m->out_nr];
}

/* Some of a buffer is taken from the peer, who then writes all over what it has of it. */
static void model_revoke(struct model *m, const struct out *o)
{
    const size_t off = draw(m, o->len), len = 1 + draw(m, o->len - off < 40000 ? o->len - off : 40000);
    const size_t first = model_page(m, o->mem + off), last = model_page(m, o->mem + off + len - 1);

    assert_int_equal(loop_arena_revoke(m->a, o->mem + off, len), 0);
    for (size_t page = first; page <= last; page++) {
        m->gone_nr += !m->gone[page];
        m->gone[page] = true;
    }
    memset(m->peer + first * LOOP_PAGE, 0xee, (last - first + 1) * LOOP_PAGE);
    out_check(o);
    assert_false(loop_arena_shared(m->a, o->mem + off, len));
}

static void test_random_use_agrees_with_a_model(void **state)
{
    const char *given = getenv("LOOP_SEED");
    static struct model m;
    unsigned clean[2] = { 0 }, most = 0;

    m = (struct model){ .a = arena_make(LOOP_ARENA_MIN) };
    m.seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003u ^ (uint64_t)getpid();
    m.seed |= 1;
    print_message("LOOP_SEED=%#llx\n", (unsigned long long)m.seed);
    m.peer = peer_map(m.a);
    for (unsigned step = 0; step < 60000; step++) {
        const unsigned gets = step / 1000 % 2 ? 300 : 700; /* it fills and empties in turn */
        const uint64_t what = draw(&m, 1000);

        if (what < gets || !m.out_nr)
            model_get(&m);
        else if (what < 998 || m.gone_nr >= HALF_PAGES)
            model_put(&m, (unsigned)draw(&m, m.out_nr));
        else
            model_revoke(&m, &m.out[draw(&m, m.out_nr)]);
        most = m.out_nr > most ? m.out_nr : most;
        if (!(step % 200))
            loop_arena_check(m.a);
    }
    assert_true(most > 50 && m.gone_nr > 50);
    while (m.out_nr)
        model_put(&m, m.out_nr - 1);
    loop_arena_check(m.a);
    for (unsigned page = 0; page < ARRAY_SIZE(m.gone); page++)
        clean[page >= HALF_PAGES] += !m.gone[page];
    assert_int_equal(pages_left(m.a, false), clean[0]);
    assert_int_equal(pages_left(m.a, true), clean[1]);
    peer_unmap(m.a, m.peer);
    loop_arena_drop(m.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_refuses_lengths_that_are_none),
        cmocka_unit_test(test_a_quarter_is_the_most),
        cmocka_unit_test(test_the_largest_arena_is_had),
        cmocka_unit_test(test_a_buffer_costs_the_pages_it_needs),
        cmocka_unit_test(test_neither_half_starves_the_other),
        cmocka_unit_test(test_small_blocks_come_together_again),
        cmocka_unit_test(test_a_buffer_outlives_who_made_the_arena),
        cmocka_unit_test(test_stand_ins_keep_nothing_alive),
        cmocka_unit_test(test_a_wrong_put_is_our_bug),
        cmocka_unit_test(test_shared_is_judged_without_wrapping),
        cmocka_unit_test(test_what_is_revoked_is_ours_alone),
        cmocka_unit_test(test_revoking_again_changes_nothing),
        cmocka_unit_test(test_what_could_not_be_revoked_is_not_taken_for_revoked),
        cmocka_unit_test(test_many_small_holes_wear_an_arena_too),
        cmocka_unit_test(test_revoked_pages_are_not_given_out_again),
        cmocka_unit_test(test_a_lost_stand_in_does_not_come_again),
        cmocka_unit_test(test_worn_is_more_than_a_quarter_of_either_half),
        cmocka_unit_test(test_random_use_agrees_with_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
