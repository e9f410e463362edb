/* Memory that two processes share: made, passed over a unix socket, judged, taken back. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reactor/uring/rt_internal.h"
#include "tests/unit/reactor/rt_test.h"

#define PAGE  4096ul
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static unsigned fds_open(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* What a stranger might hand over; as it came over the socket. */
static struct rt_shm *stranger(int fd)
{
    struct rt_shm *shm = NULL;

    assert_true(fd >= 0);
    assert_int_equal(rt_shm_take(fd, &shm), 0);
    assert_null(rt_shm_mem(shm));
    assert_int_equal(rt_shm_len(shm), 0);
    return shm;
}

static int memfd(size_t len, unsigned seals)
{
    const int fd = memfd_create("stranger", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    if (seals)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static struct rt_shm *twin(const struct rt_shm *shm)
{
    struct rt_shm *other = stranger(dup(rt_shm_fd(shm)));

    assert_int_equal(rt_shm_map(other, PAGE, SIZE_MAX), 0);
    return other;
}

/* ---- making and mapping -------------------------------------------------------------------------------- */

static void test_new_memory_is_zeroed_sealed_and_as_long_as_asked(void **state)
{
    static const size_t lens[] = { PAGE, 3 * PAGE, 4ul << 20, (4ul << 20) + PAGE };
    const unsigned fds = fds_open();

    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        struct rt_shm *shm = NULL;
        const uint8_t *mem;

        assert_int_equal(rt_shm_new(&shm, lens[i]), 0);
        mem = rt_shm_mem(shm);
        assert_non_null(mem);
        assert_int_equal((uintptr_t)mem % PAGE, 0);
        assert_int_equal(rt_shm_len(shm), lens[i]);
        for (size_t at = 0; at < lens[i]; at += 512)
            assert_int_equal(mem[at], 0);
        assert_int_equal(fcntl(rt_shm_fd(shm), F_GET_SEALS), SEALS);
        assert_int_equal(fcntl(rt_shm_fd(shm), F_GETFD), FD_CLOEXEC);
        assert_int_not_equal(ftruncate(rt_shm_fd(shm), 0), 0);
        rt_shm_free(shm);
    }
    assert_int_equal(fds_open(), fds);
    rt_shm_free(NULL);
}

static void test_new_memory_of_a_wrong_length_is_refused(void **state)
{
    static const size_t lens[] = { 0, 1, PAGE - 1, PAGE + 1, SIZE_MAX, SIZE_MAX - PAGE + 1 };
    const unsigned fds = fds_open();

    for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
        struct rt_shm *shm = NULL;

        assert_int_equal(rt_shm_new(&shm, lens[i]), -EINVAL);
        assert_null(shm);
    }
    assert_int_equal(fds_open(), fds);
}

static void test_both_mappings_see_the_same_bytes(void **state)
{
    struct rt_shm *ours, *theirs;

    assert_int_equal(rt_shm_new(&ours, 2 * PAGE), 0);
    theirs = twin(ours);
    assert_int_equal(rt_shm_len(theirs), 2 * PAGE);
    strcpy(rt_shm_mem(ours), "to them");
    assert_string_equal(rt_shm_mem(theirs), "to them");
    strcpy((char *)rt_shm_mem(theirs) + PAGE, "to us");
    assert_string_equal((char *)rt_shm_mem(ours) + PAGE, "to us");
    rt_shm_free(ours);
    assert_string_equal(rt_shm_mem(theirs), "to them"); /* the giver is gone, the memory is not */
    rt_shm_free(theirs);
}

static void refused(int fd, size_t len_min, size_t len_max, int err)
{
    struct rt_shm *shm = stranger(fd);

    assert_int_equal(rt_shm_map(shm, len_min, len_max), err);
    assert_null(rt_shm_mem(shm));
    assert_int_equal(rt_shm_len(shm), 0);
    rt_shm_free(shm);
}

static void test_memory_without_its_seals_is_refused(void **state)
{
    const unsigned fds = fds_open();

    for (unsigned seals = 0; seals < 16; seals++) {
        /* Every set of: seal, shrink, grow, write. */
        if (seals == SEALS)
            continue;
        refused(memfd(PAGE, seals), PAGE, PAGE, -EPERM);
    }
    refused(memfd(PAGE, SEALS | 0x10 /* F_SEAL_FUTURE_WRITE */), PAGE, PAGE, -EPERM);
    assert_int_equal(fds_open(), fds);
}

static void test_memory_of_another_size_is_refused(void **state)
{
    refused(memfd(2 * PAGE, SEALS), 3 * PAGE, 4 * PAGE, -EFBIG);
    refused(memfd(5 * PAGE, SEALS), 3 * PAGE, 4 * PAGE, -EFBIG);
    refused(memfd(3 * PAGE + 1, SEALS), 3 * PAGE, 4 * PAGE, -EFBIG);
    refused(memfd(4 * PAGE - 1, SEALS), 3 * PAGE, 4 * PAGE, -EFBIG);
    refused(memfd(0, SEALS), 0, PAGE, -EFBIG);
    refused(memfd(INT64_MAX, SEALS), PAGE, 1ul << 30, -EFBIG);
    for (size_t n = 3; n <= 4; n++) {
        struct rt_shm *shm = stranger(memfd(n * PAGE, SEALS));

        assert_int_equal(rt_shm_map(shm, 3 * PAGE, 4 * PAGE), 0);
        assert_int_equal(rt_shm_len(shm), n * PAGE);
        rt_shm_free(shm);
    }
}

static void test_memory_that_cannot_be_written_is_refused(void **state)
{
    const int fd = memfd(PAGE, SEALS);
    char path[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    refused(open(path, O_RDONLY | O_CLOEXEC), PAGE, PAGE, -EINVAL);
    close(fd);
}

/* Its pages come from a pool that may be empty when they are touched. */
static void test_huge_page_file_is_refused(void **state)
{
    const int fd = memfd_create("stranger", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

    if (fd < 0)
        skip(); /* a kernel without */
    assert_int_equal(ftruncate(fd, 2 << 20), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALS), 0);
    refused(fd, PAGE, SIZE_MAX, -EINVAL);
}

static void test_what_is_no_memory_is_not_taken(void **state)
{
    const unsigned fds = fds_open();
    char name[] = "/tmp/rt-shm-XXXXXX";
    struct rt_shm *shm = NULL;
    int pair[2], file;

    file = mkstemp(name);
    assert_true(file >= 0);
    unlink(name);
    assert_int_equal(ftruncate(file, (off_t)PAGE), 0);
    /* Where /tmp is in memory it has seals, but never those that are asked for. */
    if (fcntl(file, F_GET_SEALS) >= 0)
        refused(file, PAGE, PAGE, -EPERM);
    else
        assert_int_equal(rt_shm_take(file, &shm), -EPROTO);
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(rt_shm_take(pair[0], &shm), -EPROTO);
    assert_int_equal(rt_shm_take(pair[1], &shm), -EPROTO);
    assert_int_equal(rt_shm_take(open("/dev/zero", O_RDWR | O_CLOEXEC), &shm), -EPROTO);
    assert_int_equal(rt_shm_take(open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC), &shm), -EPROTO);
    assert_null(shm);
    assert_int_equal(fds_open(), fds);
}

/* ---- taking back --------------------------------------------------------------------------------------- */

static void fill(uint8_t *mem, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        mem[i] = (uint8_t)(i * 31 + i / PAGE + seed);
}

static void expect_filled(const uint8_t *mem, size_t from, size_t len, unsigned seed)
{
    for (size_t i = from; i < from + len; i++)
        if (mem[i] != (uint8_t)(i * 31 + i / PAGE + seed))
            fail_msg("byte %zu is %u", i, mem[i]);
}

static void test_revoked_pages_are_ours_alone_and_keep_their_bytes(void **state)
{
    struct rt_shm *ours, *theirs;
    uint8_t *mem, *other;

    assert_int_equal(rt_shm_new(&ours, 8 * PAGE), 0);
    theirs = twin(ours);
    mem = rt_shm_mem(ours);
    other = rt_shm_mem(theirs);
    fill(mem, 8 * PAGE, 1);
    assert_int_equal(rt_shm_revoke(ours, 2 * PAGE, 3 * PAGE), 0);
    assert_ptr_equal(rt_shm_mem(ours), mem);
    expect_filled(mem, 0, 8 * PAGE, 1);
    expect_filled(other, 0, 8 * PAGE, 1);

    memset(other, 0xee, 8 * PAGE); /* ours there is no longer what they write */
    expect_filled(mem, 2 * PAGE, 3 * PAGE, 1);
    assert_int_equal(mem[2 * PAGE - 1], 0xee);
    assert_int_equal(mem[5 * PAGE], 0xee);
    memset(mem + 2 * PAGE, 0x11, 3 * PAGE); /* nor theirs what we write */
    assert_int_equal(other[2 * PAGE], 0xee);
    assert_int_equal(other[5 * PAGE - 1], 0xee);
    rt_shm_free(ours);
    rt_shm_free(theirs);
}

static void test_pages_can_be_revoked_again_and_up_to_the_whole(void **state)
{
    struct rt_shm *ours, *theirs;
    uint8_t *mem;

    assert_int_equal(rt_shm_new(&ours, 4 * PAGE), 0);
    theirs = twin(ours);
    mem = rt_shm_mem(ours);
    fill(mem, 4 * PAGE, 2);
    assert_int_equal(rt_shm_revoke(ours, PAGE, PAGE), 0);
    assert_int_equal(rt_shm_revoke(ours, PAGE, PAGE), 0);
    memset((uint8_t *)rt_shm_mem(theirs) + PAGE, 0, PAGE);
    assert_int_equal(rt_shm_revoke(ours, 0, 4 * PAGE), 0);
    expect_filled(mem, 0, 4 * PAGE, 2);
    memset(rt_shm_mem(theirs), 0, 4 * PAGE);
    expect_filled(mem, 0, 4 * PAGE, 2);
    rt_shm_free(ours);
    rt_shm_free(theirs);
}

static void test_revoke_works_within_huge_pages(void **state)
{
    const size_t len = 8ul << 20;
    struct rt_shm *ours, *theirs;
    uint8_t *mem;

    assert_int_equal(rt_shm_new(&ours, len), 0);
    theirs = twin(ours);
    mem = rt_shm_mem(ours);
    fill(mem, len, 3);
    assert_int_equal(rt_shm_revoke(ours, 3ul << 20, PAGE), 0);
    assert_int_equal(rt_shm_revoke(ours, 5ul << 20, 2ul << 20), 0);
    memset(rt_shm_mem(theirs), 0, len);
    expect_filled(mem, 3ul << 20, PAGE, 3);
    expect_filled(mem, 5ul << 20, 2ul << 20, 3);
    assert_int_equal(mem[(3ul << 20) + PAGE], 0);
    rt_shm_free(ours);
    rt_shm_free(theirs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_memory_is_zeroed_sealed_and_as_long_as_asked),
        cmocka_unit_test(test_new_memory_of_a_wrong_length_is_refused),
        cmocka_unit_test(test_both_mappings_see_the_same_bytes),
        cmocka_unit_test(test_memory_without_its_seals_is_refused),
        cmocka_unit_test(test_memory_of_another_size_is_refused),
        cmocka_unit_test(test_memory_that_cannot_be_written_is_refused),
        cmocka_unit_test(test_huge_page_file_is_refused),
        cmocka_unit_test(test_what_is_no_memory_is_not_taken),
        cmocka_unit_test(test_revoked_pages_are_ours_alone_and_keep_their_bytes),
        cmocka_unit_test(test_pages_can_be_revoked_again_and_up_to_the_whole),
        cmocka_unit_test(test_revoke_works_within_huge_pages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
