/* test_reserve.c - memory kept back: there from the start, given to who is stuck for want of it, kept back again */
#include <sys/ioctl.h>
#include <unistd.h>

#include "rt_test.h"

#include "reactor/uring/rt_internal.h"

#define LONG_NS (30 * RT_S)

/* With its reserve, or NULL where that is not allowed (large pipes need a privilege). */
static struct rt_host *setup(void)
{
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    const int err = rt_reserve_start(h);

    if (!err)
        return h;
    assert_int_equal(err, -EPERM);
    rt_host_free(h);
    return NULL;
}

/* What lies in the pipes, whatever is said. */
static size_t really(struct rt_host *h)
{
    size_t sum = 0;

    for (unsigned i = 0; i < RT_RESERVE_PARTS; i++) {
        int n = 0;

        assert_int_equal(ioctl(h->reserve.part[i][0], FIONREAD, &n), 0);
        sum += (size_t)n;
    }
    return sum;
}

static void wait_len(struct rt_host *h, size_t min, size_t max)
{
    const uint64_t end = rt_clock_ns() + LONG_NS;

    while (rt_reserve_len(&h->reserve) < min || rt_reserve_len(&h->reserve) > max) {
        assert_true(rt_clock_ns() < end);
        usleep(1000);
    }
}

static void test_reserve_is_given_in_parts_and_kept_again(void **state)
{
    struct rt_host *h = setup();
    size_t all, had;

    if (!h)
        skip();
    all = rt_reserve_len(&h->reserve);
    assert_true(all >= 4u << 20);
    pthread_mutex_lock(&h->reserve.lock); /* the canary fills nothing up meanwhile */
    assert_int_equal(really(h), all);
    for (had = all; had; had = rt_reserve_len(&h->reserve)) {
        assert_true(rt_reserve_give(&h->reserve));
        assert_int_equal(rt_reserve_len(&h->reserve), had - all / RT_RESERVE_PARTS);
        assert_int_equal(really(h), rt_reserve_len(&h->reserve));
    }
    assert_false(rt_reserve_give(&h->reserve));
    pthread_mutex_unlock(&h->reserve.lock);
    wait_len(h, all, all);
    rt_host_free(h);
}

static void test_guard_gives_while_the_canary_is_stuck(void **state)
{
    struct rt_host *h = setup();
    size_t all;

    if (!h)
        skip();
    all = rt_reserve_len(&h->reserve);
    pthread_mutex_lock(&h->reserve.lock);
    assert_int_equal(rt_reserve_len(&h->reserve), all);
    atomic_store(&h->reserve.trying_ns, rt_clock_ns());
    wait_len(h, 0, all - all / RT_RESERVE_PARTS);
    wait_len(h, 0, 0); /* it goes on for as long as that does not help */
    atomic_store(&h->reserve.trying_ns, 0);
    pthread_mutex_unlock(&h->reserve.lock);
    wait_len(h, all, all);
    rt_host_free(h);
}

static void test_host_may_end_while_it_is_stuck(void **state)
{
    struct rt_host *h = setup();

    if (!h)
        skip();
    atomic_store(&h->reserve.trying_ns, 1);
    rt_host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reserve_is_given_in_parts_and_kept_again),
        cmocka_unit_test(test_guard_gives_while_the_canary_is_stuck),
        cmocka_unit_test(test_host_may_end_while_it_is_stuck),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
