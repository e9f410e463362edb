/* test_pool.c - pools and large memory */
#include <sched.h>

#include "rt_test.h"

#include "reactor/rt_pool.h"

static void test_pool_hands_out_each_object_once_then_nothing(void **state)
{
    enum { N = 100 };
    struct rt_pool *p = NULL;
    uint8_t *objs[N];

    assert_int_equal(rt_pool_new(&p, 40, 64, N), 0);
    assert_int_equal(rt_pool_count(p), N);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(rt_pool_left(p), N - i);
        assert_non_null(objs[i] = rt_pool_get(p));
        assert_int_equal((uintptr_t)objs[i] % 64, 0);
        memset(objs[i], (int)i, 40);
    }
    assert_null(rt_pool_get(p));
    assert_int_equal(rt_pool_left(p), 0);
    for (unsigned i = 0; i < N; i++)
        for (unsigned j = 0; j < 40; j++)
            assert_int_equal(objs[i][j], i);        /* none overlaps another */
    for (unsigned round = 0; round < 3; round++) {  /* used ones as fresh ones */
        for (unsigned i = 0; i < N; i++)
            rt_pool_put(p, objs[i]);
        assert_int_equal(rt_pool_left(p), N);
        for (unsigned i = 0; i < N; i++) {
            objs[i] = rt_pool_get(p);
            memset(objs[i], (int)i, 40);
        }
        assert_null(rt_pool_get(p));
        for (unsigned i = 0; i < N; i++)
            assert_true(objs[i][0] == i && objs[i][39] == i);
    }
    for (unsigned i = 0; i < N; i++)
        rt_pool_put(p, objs[i]);
    rt_pool_free(p);
}

static void test_pool_gives_back_the_warmest(void **state)
{
    struct rt_pool *p = NULL;
    char *a, *b;

    assert_int_equal(rt_pool_new(&p, 16, 8, 4), 0);
    a = rt_pool_get(p);
    b = rt_pool_get(p);
    rt_pool_put(p, b);
    rt_pool_put(p, a);
    assert_ptr_equal(rt_pool_get(p), a);
    rt_pool_put(p, a);
    rt_pool_free(p);
}

static void test_pool_refuses_more_than_there_can_be(void **state)
{
    struct rt_pool *p = NULL;

    assert_int_not_equal(rt_pool_new(&p, SIZE_MAX / 4, 64, 1000), 0);
    assert_int_not_equal(rt_pool_new(&p, SIZE_MAX, 64, 1), 0);
    assert_null(p);
    rt_pool_free(NULL);
}

static void test_memory_is_zeroed_and_page_aligned(void **state)
{
    const size_t len = 5u << 20;
    uint8_t *mem = rt_mem_alloc(len);

    assert_non_null(mem);
    assert_int_equal((uintptr_t)mem % 4096, 0);
    for (size_t i = 0; i < len; i += 4096)
        assert_int_equal(mem[i], 0);
    mem[len - 1] = 1;
    rt_mem_free(mem, len);
    rt_mem_free(NULL, 0);
    assert_null(rt_mem_alloc(0));
    assert_null(rt_mem_alloc(SIZE_MAX / 2));
}

/* Where there is another node or not: the bytes are what and where they were. A reactor that is pinned nowhere has none. */
static void test_memory_that_moves_stays_what_it_is(void **state)
{
    const size_t len = 3 << 20;
    struct rt_pool *p = NULL;
    struct rt_host *h = host_make(1, RT_MODE_INTERRUPT);
    struct rt *rt = rt_host_at(h, 0);
    uint8_t *mem = rt_mem_alloc(len), *obj;
    cpu_set_t may, one;
    int core = 0;

    assert_int_equal(rt_turn(rt, 0), 0);
    memset(mem, 0x5a, len / 2);
    assert_false(rt_mem_move(mem, len, rt));
    rt_host_free(h);
    assert_int_equal(sched_getaffinity(0, sizeof(may), &may), 0);
    while (!CPU_ISSET(core, &may))
        core++;
    h = NULL;
    assert_int_equal(rt_host_new(&h, &(struct rt_conf){ .cores = &core, .cores_nr = 1 }), 0);
    rt = rt_host_at(h, 0);
    assert_true(rt_turn(rt, 0) >= 0);
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    (void)rt_mem_move(mem, len, rt);
    (void)rt_mem_move(mem + 4096, 100, rt);
    assert_int_equal(sched_setaffinity(0, sizeof(may), &may), 0);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(mem[i], i < len / 2 ? 0x5a : 0);
    assert_int_equal(rt_pool_new(&p, 40, 64, 100), 0);
    obj = rt_pool_get(p);
    memset(obj, 7, 40);
    rt_pool_move(p, rt);
    rt_pool_move(NULL, rt);
    assert_int_equal(obj[39], 7);
    rt_pool_put(p, obj);
    rt_pool_free(p);
    rt_mem_free(mem, len);
    rt_host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_hands_out_each_object_once_then_nothing),
        cmocka_unit_test(test_pool_gives_back_the_warmest),
        cmocka_unit_test(test_pool_refuses_more_than_there_can_be),
        cmocka_unit_test(test_memory_is_zeroed_and_page_aligned),
        cmocka_unit_test(test_memory_that_moves_stays_what_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
