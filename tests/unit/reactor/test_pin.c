/* File operations from and into memory that is registered with the ring: the same as from any other. */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "reactor/uring/rt_internal.h"
#include "tests/unit/reactor/rt_test.h"

#define PAGE 4096ul
#define LEN  (64 * PAGE)

struct scene {
    struct rt_host *h;
    struct rt *rt;
    char *dir;
    struct rt_file *file;
    struct rt_shm *shm;
    uint8_t *mem;
};

static void setup(struct scene *s, unsigned flags)
{
    char path[128];

    *s = (struct scene){ .h = host_make(2, RT_MODE_INTERRUPT), .dir = temp_dir() };
    s->rt = rt_host_at(s->h, 0);
    snprintf(path, sizeof(path), "%s/disk", s->dir);
    assert_int_equal(rt_file_open(path, RT_FILE_WRITE | RT_FILE_CREATE | flags, &s->file), 0);
    assert_int_equal(rt_file_set_size(s->file, 4 * LEN), 0);
    assert_int_equal(rt_shm_new(&s->shm, LEN), 0);
    s->mem = rt_shm_mem(s->shm);
    assert_int_equal(rt_turn(s->rt, 0), 0);
}

static void teardown(struct scene *s)
{
    rt_shm_free(s->shm);
    rt_file_close(s->file);
    rt_host_free(s->h);
    temp_dir_remove(s->dir);
}

/* Lets it come to its end. */
static void turn_pins(struct rt *rt)
{
    while (rt->pins.stepping)
        assert_true(rt_turn(rt, 0) >= 0);
}

/* As the first operation does that could use it. */
static void first_use(struct rt *rt, struct rt_shm *shm)
{
    assert_true(rt_pin_find(rt, rt_shm_mem(shm), 1) < 0);
}

static void pin(struct scene *s, struct rt_shm *shm)
{
    rt_shm_pin(s->rt, shm);
    first_use(s->rt, shm);
    turn_pins(s->rt);
}

/* Whether the kernel lets anybody register memory here. */
static bool pinned(const struct scene *s)
{
    return s->rt->pins.nr && s->rt->pins.pin[0].ready;
}

static uint8_t byte_at(uint64_t off, unsigned seed)
{
    return (uint8_t)(off * 13 + off / 509 + seed);
}

static void fill(uint8_t *mem, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        mem[i] = byte_at(i, seed);
}

static int io(struct scene *s, bool write, void *mem, size_t len, uint64_t off)
{
    const struct iovec iov = { mem, len };
    struct noted n = { 0 };

    if (write)
        rt_file_write(s->rt, s->file, noted_op(&n), &iov, 1, off);
    else
        rt_file_read(s->rt, s->file, noted_op(&n), &iov, 1, off);
    return turn_for(s->rt, &n);
}

static void same_as_ever(unsigned flags, bool pins)
{
    static const struct {
        size_t at, len;
    } parts[] = {
        { 0, LEN },           { 0, PAGE },
        { LEN - PAGE, PAGE }, { 3 * PAGE, 17 * PAGE },
        { 512, 512 },         { 63 * PAGE + 512, 3584 },
    };
    uint8_t *plain = rt_mem_alloc(LEN);
    struct rt_file_info info;
    struct scene s;

    assert_non_null(plain);
    setup(&s, flags);
    assert_int_equal(rt_file_stat(s.file, &info), 0);
    if (pins)
        pin(&s, s.shm);
    for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
        const size_t at = parts[i].at, len = parts[i].len;

        if (at % info.dio_align || len % info.dio_align)
            continue;
        fill(s.mem, LEN, i);
        assert_int_equal(io(&s, true, s.mem + at, len, PAGE), len);
        assert_int_equal(io(&s, false, plain, len, PAGE), len);
        assert_memory_equal(plain, s.mem + at, len);
        memset(s.mem, 0, LEN);
        assert_int_equal(io(&s, false, s.mem + at, len, PAGE), len);
        assert_memory_equal(s.mem + at, plain, len);
        if (at)
            assert_int_equal(s.mem[at - 1], 0);
        if (at + len < LEN)
            assert_int_equal(s.mem[at + len], 0);
    }
    assert_int_equal(io(&s, false, s.mem, LEN, 4 * LEN - PAGE), PAGE); /* the end of the file */
    assert_int_equal(io(&s, false, s.mem, LEN, 4 * LEN), 0);
    if (pins)
        rt_shm_unpin(s.rt, s.shm);
    teardown(&s);
    rt_mem_free(plain, LEN);
}

static void test_pinned_memory_reads_and_writes_as_any_other(void **state)
{
    for (unsigned i = 0; i < 4; i++)
        same_as_ever(i & 1 ? RT_FILE_DIRECT : 0, i & 2);
}

/* The pages that are registered are those that the other process sees. */
static void test_other_mapping_sees_what_was_read(void **state)
{
    struct rt_shm *twin;
    struct scene s;

    setup(&s, 0);
    assert_int_equal(rt_shm_take(dup(rt_shm_fd(s.shm)), &twin), 0);
    assert_int_equal(rt_shm_map(twin, LEN, LEN), 0);
    pin(&s, twin);
    fill(s.mem, LEN, 1);
    assert_int_equal(io(&s, true, rt_shm_mem(twin), LEN, 0), LEN);
    memset(s.mem, 0, LEN);
    assert_int_equal(io(&s, false, rt_shm_mem(twin), LEN, 0), LEN);
    for (size_t i = 0; i < LEN; i++)
        assert_int_equal(s.mem[i], byte_at(i, 1));
    rt_shm_unpin(s.rt, twin);
    rt_shm_free(twin);
    teardown(&s);
}

/* Only one piece of memory that lies within is asked of the table; pieces that only touch it are not. */
static void test_only_what_lies_within_is_taken_for_pinned(void **state)
{
    struct scene s;

    setup(&s, 0);
    pin(&s, s.shm);
    if (pinned(&s)) {
        assert_true(rt_pin_find(s.rt, s.mem, LEN) >= 0);
        assert_true(rt_pin_find(s.rt, s.mem + LEN - 1, 1) >= 0);
        assert_true(rt_pin_find(s.rt, s.mem, LEN + 1) < 0);
        assert_true(rt_pin_find(s.rt, s.mem + 1, LEN) < 0);
        assert_true(rt_pin_find(s.rt, s.mem + LEN, 1) < 0);
        assert_true(rt_pin_find(s.rt, (uint8_t *)((uintptr_t)s.mem - 1), 1) < 0);
        assert_true(rt_pin_find(s.rt, (uint8_t *)((uintptr_t)s.mem - 1), 2) < 0);
        assert_true(rt_pin_find(s.rt, s.mem + 1, SIZE_MAX) < 0);
    }
    rt_shm_unpin(s.rt, s.shm);
    assert_true(rt_pin_find(s.rt, s.mem, 1) < 0);
    teardown(&s);
}

static void test_several_iovecs_go_the_ordinary_way(void **state)
{
    struct noted n = { 0 };
    struct scene s;
    uint8_t got[3 * PAGE];

    setup(&s, 0);
    pin(&s, s.shm);
    fill(s.mem, LEN, 5);
    rt_file_write(
        s.rt, s.file, noted_op(&n),
        (const struct iovec[]){ { s.mem, PAGE }, { s.mem + 8 * PAGE, PAGE }, { s.mem + 4 * PAGE, PAGE } }, 3,
        0);
    assert_int_equal(turn_for(s.rt, &n), 3 * PAGE);
    assert_int_equal(io(&s, false, got, sizeof(got), 0), sizeof(got));
    assert_memory_equal(got, s.mem, PAGE);
    assert_memory_equal(got + PAGE, s.mem + 8 * PAGE, PAGE);
    assert_memory_equal(got + 2 * PAGE, s.mem + 4 * PAGE, PAGE);
    rt_shm_unpin(s.rt, s.shm);
    teardown(&s);
}

/* Many in flight, and the memory unpinned meanwhile, or before they were submitted. */
static void test_unpin_leaves_running_operations_alone(void **state)
{
    enum { N = 32 };

    for (unsigned turned = 0; turned < 2; turned++) {
        struct noted n[N] = { 0 };
        struct iovec iov[N];
        struct scene s;

        setup(&s, RT_FILE_DIRECT);
        fill(s.mem, LEN, 6);
        assert_int_equal(io(&s, true, s.mem, LEN, 0), LEN);
        memset(s.mem, 0, LEN);
        pin(&s, s.shm);
        for (unsigned i = 0; i < N; i++) {
            iov[i] = (struct iovec){ s.mem + i * 2 * PAGE, 2 * PAGE };
            rt_file_read(s.rt, s.file, noted_op(&n[i]), &iov[i], 1, i * 2 * PAGE);
        }
        if (turned)
            assert_true(rt_turn(s.rt, 0) >= 0);
        rt_shm_unpin(s.rt, s.shm);
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(turn_for(s.rt, &n[i]), 2 * PAGE);
        for (size_t i = 0; i < LEN; i++)
            assert_int_equal(s.mem[i], byte_at(i, 6));
        teardown(&s);
    }
}

/* The ring's table says no after the entry was written: the operation is made again without it. */
static void test_operation_whose_pin_is_gone_goes_the_ordinary_way(void **state)
{
    struct scene s;
    const struct iovec none = { NULL, 0 };
    const __u64 no_tag = 0;

    setup(&s, 0);
    pin(&s, s.shm);
    if (pinned(&s)) {
        assert_int_equal(
            io_uring_register_buffers_update_tag(&s.rt->ring, s.rt->pins.pin[0].slot, &none, &no_tag, 1), 1);
        assert_true(rt_pin_find(s.rt, s.mem, LEN) >= 0);
        fill(s.mem, LEN, 7);
        assert_int_equal(io(&s, true, s.mem, LEN, 0), LEN);
        memset(s.mem, 0, LEN);
        assert_int_equal(io(&s, false, s.mem, LEN, 0), LEN);
        for (size_t i = 0; i < LEN; i++)
            assert_int_equal(s.mem[i], byte_at(i, 7));
    }
    rt_shm_unpin(s.rt, s.shm);
    teardown(&s);
}

static void test_more_memories_than_the_table_holds(void **state)
{
    enum { N = RT_PINS_MAX + 3 };
    struct rt_shm *shm[N];
    struct scene s;

    setup(&s, 0);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(rt_shm_new(&shm[i], PAGE), 0);
        pin(&s, shm[i]);
    }
    for (unsigned i = 0; i < N; i++) {
        uint8_t *mem = rt_shm_mem(shm[i]);

        if (pinned(&s))
            assert_int_equal(rt_pin_find(s.rt, mem, PAGE) >= 0, i < RT_PINS_MAX);
        fill(mem, PAGE, i);
        assert_int_equal(io(&s, true, mem, PAGE, i * PAGE), PAGE);
        memset(mem, 0, PAGE);
        assert_int_equal(io(&s, false, mem, PAGE, i * PAGE), PAGE);
        assert_int_equal(mem[99], byte_at(99, i));
    }
    for (unsigned i = 0; i < N; i += 2) /* room in between is used again */
        rt_shm_unpin(s.rt, shm[i]);
    for (unsigned i = 0; i < N; i += 2) {
        pin(&s, shm[i]);
        if (pinned(&s) && i < RT_PINS_MAX - 2)
            assert_true(rt_pin_find(s.rt, rt_shm_mem(shm[i]), PAGE) >= 0);
    }
    for (unsigned i = 0; i < N; i++) {
        rt_shm_unpin(s.rt, shm[i]);
        assert_true(rt_pin_find(s.rt, rt_shm_mem(shm[i]), PAGE) < 0);
        rt_shm_free(shm[i]);
    }
    assert_int_equal(s.rt->pins.nr, 0);
    teardown(&s);
}

static void test_two_reactors_pin_one_memory(void **state)
{
    struct scene s;
    struct rt *other;

    setup(&s, 0);
    other = rt_host_at(s.h, 1);
    pin(&s, s.shm);
    assert_int_equal(rt_turn(other, 0), 0);
    rt_shm_pin(other, s.shm);
    first_use(other, s.shm);
    turn_pins(other);
    rt_shm_unpin(s.rt, s.shm);
    assert_true(rt_pin_find(s.rt, s.mem, PAGE) < 0);
    if (other->pins.nr)
        assert_true(rt_pin_find(other, s.mem, PAGE) >= 0);
    rt_shm_unpin(other, s.shm);
    teardown(&s);
}

/* An idle session's arena takes no memory. */
static void test_memory_nobody_uses_is_not_touched(void **state)
{
    struct scene s;

    setup(&s, 0);
    rt_shm_pin(s.rt, s.shm);
    assert_false(s.rt->pins.stepping);
    if (s.rt->pins.nr) {
        assert_int_equal(s.rt->pins.pin[0].touched, 0);
        memset(s.mem, 7, PAGE);
        assert_int_equal(io(&s, true, s.mem, PAGE, 0), PAGE);
        turn_pins(s.rt);
        assert_int_equal(s.rt->pins.pin[0].touched, LEN);
    }
    rt_shm_unpin(s.rt, s.shm);
    teardown(&s);
}

/* Longer than a piece, and than the steps it is done in; used, and unpinned, before it is through. */
static void test_long_memory_is_pinned_step_by_step(void **state)
{
    const size_t len = 2 * RT_PIN_LEN + 5 * PAGE;
    struct rt_shm *shm;
    struct scene s;
    uint8_t *mem;
    unsigned turns = 0;

    setup(&s, 0);
    assert_int_equal(rt_shm_new(&shm, len), 0);
    mem = rt_shm_mem(shm);
    fill(mem, LEN, 3);
    for (unsigned stop = 0; stop < 24; stop += 7) {
        rt_shm_pin(s.rt, shm);
        for (unsigned i = 0; i < stop; i++)
            assert_true(rt_turn(s.rt, 0) >= 0);
        assert_int_equal(io(&s, true, mem, LEN, 0), LEN);
        rt_shm_unpin(s.rt, shm);
    }
    rt_shm_pin(s.rt, shm);
    first_use(s.rt, shm);
    while (s.rt->pins.stepping) {
        assert_true(rt_turn(s.rt, 0) >= 0);
        turns++;
    }
    if (pinned(&s)) {
        assert_true(turns > 30);
        assert_int_equal(s.rt->pins.pin[0].ready, len);
        assert_true(rt_pin_find(s.rt, mem, RT_PIN_LEN) >= 0);
        assert_int_equal(rt_pin_find(s.rt, mem + RT_PIN_LEN, RT_PIN_LEN), rt_pin_find(s.rt, mem, 1) + 1);
        assert_int_equal(rt_pin_find(s.rt, mem + len - PAGE, PAGE), rt_pin_find(s.rt, mem, 1) + 2);
        assert_true(rt_pin_find(s.rt, mem + RT_PIN_LEN - 1, 2) < 0);
        assert_true(rt_pin_find(s.rt, mem + len - PAGE, PAGE + 1) < 0);
    }
    for (unsigned i = 0; i < 3; i++) { /* around the border */
        uint8_t *at = mem + RT_PIN_LEN - i * PAGE;

        fill(at, 2 * PAGE, i);
        assert_int_equal(io(&s, true, at, 2 * PAGE, 0), 2 * PAGE);
        memset(at, 0, 2 * PAGE);
        assert_int_equal(io(&s, false, at, 2 * PAGE, 0), 2 * PAGE);
        for (size_t k = 0; k < 2 * PAGE; k++)
            assert_int_equal(at[k], byte_at(k, i));
    }
    rt_shm_unpin(s.rt, shm);
    for (unsigned i = 0; i < RT_PIN_SLOTS; i++)
        assert_false(s.rt->pins.used[i]);
    rt_shm_free(shm);
    teardown(&s);
}

/* In a child without privileges, which may lock nothing more once its rings are made (they count too). */
static int child_without_locked_memory(void)
{
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    const struct rlimit none = { 0, 0 };
    struct rt_host *h = NULL;
    struct scene s;

    if ((!geteuid() && setresuid(65534, 65534, 65534)) || rt_host_new(&h, &conf))
        return 77;
    rt_host_free(h);
    setup(&s, 0);
    if (setrlimit(RLIMIT_MEMLOCK, &none))
        return 77;
    pin(&s, s.shm);
    fill(s.mem, LEN, 8);
    if (pinned(&s) || io(&s, true, s.mem, LEN, 0) != LEN || io(&s, false, s.mem, LEN, 0) != LEN)
        return 1;
    rt_shm_unpin(s.rt, s.shm);
    teardown(&s);
    return 0;
}

static void test_limit_of_locked_memory_changes_nothing(void **state)
{
    const pid_t pid = fork();
    int status = -1;

    if (!pid)
        _exit(child_without_locked_memory());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Operations of the ring on memory that was taken back reach what is ours now. */
static void test_revoked_memory_is_read_and_written_by_the_ring(void **state)
{
    struct rt_shm *twin;
    struct scene s;

    setup(&s, 0);
    assert_int_equal(rt_shm_take(dup(rt_shm_fd(s.shm)), &twin), 0);
    assert_int_equal(rt_shm_map(twin, LEN, LEN), 0);
    fill(s.mem, LEN, 9);
    assert_int_equal(io(&s, true, s.mem, LEN, 0), LEN);
    memset(s.mem, 0, LEN);
    assert_int_equal(rt_shm_revoke(s.shm, 4 * PAGE, 8 * PAGE), 0);
    assert_int_equal(io(&s, false, s.mem, LEN, 0), LEN);
    for (size_t i = 0; i < LEN; i++) {
        const bool ours = i >= 4 * PAGE && i < 12 * PAGE;

        assert_int_equal(s.mem[i], byte_at(i, 9));
        assert_int_equal(((uint8_t *)rt_shm_mem(twin))[i], ours ? 0 : byte_at(i, 9));
    }
    memset(rt_shm_mem(twin), 0xff, LEN);
    assert_int_equal(io(&s, true, s.mem + 4 * PAGE, 8 * PAGE, LEN), 8 * PAGE);
    assert_int_equal(io(&s, false, rt_shm_mem(twin), 8 * PAGE, LEN), 8 * PAGE);
    assert_memory_equal(rt_shm_mem(twin), s.mem + 4 * PAGE, 8 * PAGE);
    rt_shm_free(twin);
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pinned_memory_reads_and_writes_as_any_other),
        cmocka_unit_test(test_other_mapping_sees_what_was_read),
        cmocka_unit_test(test_only_what_lies_within_is_taken_for_pinned),
        cmocka_unit_test(test_several_iovecs_go_the_ordinary_way),
        cmocka_unit_test(test_unpin_leaves_running_operations_alone),
        cmocka_unit_test(test_operation_whose_pin_is_gone_goes_the_ordinary_way),
        cmocka_unit_test(test_more_memories_than_the_table_holds),
        cmocka_unit_test(test_two_reactors_pin_one_memory),
        cmocka_unit_test(test_memory_nobody_uses_is_not_touched),
        cmocka_unit_test(test_long_memory_is_pinned_step_by_step),
        cmocka_unit_test(test_limit_of_locked_memory_changes_nothing),
        cmocka_unit_test(test_revoked_memory_is_read_and_written_by_the_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
