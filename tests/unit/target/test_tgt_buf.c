/*
 * test_tgt_buf.c - data buffers: all or nothing, two sizes, and the half that unsolicited data may not have
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "reactor/rt.h"
#include "target/tgt_buf.h"

static struct buf_pool *pool;

static int up(void **state)
{
    (void)state;
    return buf_pool_new(&pool, BUF_MEM_MIN);
}

static int down(void **state)
{
    (void)state;
    assert_true(buf_pool_idle(pool));
    buf_pool_free(pool);
    return 0;
}

static void test_room_is_made_of_few_aligned_chunks(void **state)
{
    static const struct {
        uint32_t len;
        unsigned chunks;
    } rows[] = {
        { 1, 1 },     { 4096, 1 },   { 8192, 1 },
        { 8193, 1 },  { 65536, 1 },  { 65537, 2 },
        { 73728, 2 }, { 131072, 2 }, { LUN_TRANSFER_MAX, LUN_TRANSFER_MAX / BUF_LARGE_LEN },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf_list l;

        buf_list_init(&l);
        assert_true(buf_grow(pool, &l, rows[i].len, false));
        assert_int_equal(l.nr, rows[i].chunks);
        assert_true(l.len >= rows[i].len);
        for (unsigned k = 0; k < l.nr; k++)
            assert_int_equal((uintptr_t)l.iov[k].iov_base & 4095, 0);
        assert_int_equal(buf_trim(&l, rows[i].len), rows[i].chunks);
        buf_release(pool, &l);
    }
}

static void test_room_grows_behind_what_is_there(void **state)
{
    struct buf_list l;
    void *first;

    (void)state;
    buf_list_init(&l);
    assert_true(buf_grow(pool, &l, 4096, true));
    first = l.iov[0].iov_base;
    assert_true(buf_grow(pool, &l, LUN_TRANSFER_MAX, false));
    assert_ptr_equal(l.iov[0].iov_base, first);
    assert_int_equal(l.iov[0].iov_len, BUF_SMALL_LEN);      /* whole: what follows continues it */
    assert_int_equal(buf_trim(&l, 100000), 3);
    assert_int_equal(l.iov[2].iov_len, 100000 - BUF_SMALL_LEN - BUF_LARGE_LEN);
    buf_release(pool, &l);
}

static void test_what_cannot_be_had_whole_is_not_taken(void **state)
{
    struct buf_list lists[8], more;
    unsigned n = 0;

    (void)state;
    for (n = 0; n < ARRAY_SIZE(lists); n++) {
        buf_list_init(&lists[n]);
        if (!buf_grow(pool, &lists[n], LUN_TRANSFER_MAX, false))
            break;
    }
    assert_int_equal(n, 3);                 /* 14 MiB of large chunks hold three transfers */
    assert_int_equal(lists[n].nr, 0);
    buf_list_init(&more);
    assert_true(buf_grow(pool, &more, 1 << 20, false));
    buf_release(pool, &more);
    while (n--)
        buf_release(pool, &lists[n]);
}

/* However much comes unasked, a whole transfer can still be had. */
static void test_unsolicited_data_leave_half(void **state)
{
    static struct buf_list lists[4096];
    struct buf_list l;
    unsigned n = 0;

    (void)state;
    for (n = 0; n < ARRAY_SIZE(lists); n++) {
        buf_list_init(&lists[n]);
        if (!buf_grow(pool, &lists[n], n & 1 ? 65536 : 4096, true))
            break;
    }
    assert_true(n < ARRAY_SIZE(lists));
    buf_list_init(&l);
    assert_true(buf_grow(pool, &l, LUN_TRANSFER_MAX, false));
    buf_release(pool, &l);
    while (n--)
        buf_release(pool, &lists[n]);
    assert_true(buf_grow(pool, &l, 65536, true));
    buf_release(pool, &l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_room_is_made_of_few_aligned_chunks, up, down),
        cmocka_unit_test_setup_teardown(test_room_grows_behind_what_is_there, up, down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_had_whole_is_not_taken, up, down),
        cmocka_unit_test_setup_teardown(test_unsolicited_data_leave_half, up, down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
