/* test_save.c - whole small files and directories */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rt_test.h"

static unsigned entries(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void expect_content(const char *path, const char *text)
{
    char *got = NULL;
    size_t len = 0;

    assert_int_equal(rt_load(path, 1u << 20, &got, &len), 0);
    assert_int_equal(len, strlen(text));
    assert_string_equal(got, text);
    free(got);
}

static void test_saved_file_loads_with_its_mode(void **state)
{
    static const unsigned modes[] = { 0600, 0644, 0666, 0400 };
    static const mode_t umasks[] = { 0, 022, 0777 };
    char *dir = temp_dir(), path[128];
    struct stat st;

    snprintf(path, sizeof(path), "%s/f", dir);
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        for (size_t j = 0; j < ARRAY_SIZE(umasks); j++) {
            const mode_t old = umask(umasks[j]);

            assert_int_equal(rt_save(path, "secret", 6, modes[i]), 0);
            umask(old);
            assert_int_equal(stat(path, &st), 0);
            assert_int_equal(st.st_mode & 07777, modes[i]);
            expect_content(path, "secret");
        }
    assert_int_equal(entries(dir), 1);
    temp_dir_remove(dir);
}

static void test_save_replaces_and_a_reader_keeps_the_old(void **state)
{
    char *dir = temp_dir(), path[128], buf[8] = { 0 };
    int fd;

    snprintf(path, sizeof(path), "%s/f", dir);
    assert_int_equal(rt_save(path, "old", 3, 0600), 0);
    assert_true((fd = open(path, O_RDONLY)) >= 0);
    assert_int_equal(rt_save(path, "newer", 5, 0600), 0);
    assert_int_equal(read(fd, buf, sizeof(buf)), 3);
    assert_string_equal(buf, "old");
    close(fd);
    expect_content(path, "newer");
    assert_int_equal(rt_save(path, "", 0, 0600), 0);
    expect_content(path, "");
    temp_dir_remove(dir);
}

static void test_remove_takes_the_name_and_does_not_mind_its_absence(void **state)
{
    char *dir = temp_dir(), path[128], missing[160];

    snprintf(path, sizeof(path), "%s/f", dir);
    assert_int_equal(rt_save(path, "x", 1, 0600), 0);
    assert_int_equal(rt_remove(path), 0);
    assert_int_equal(entries(dir), 0);
    assert_int_equal(rt_remove(path), 0);
    snprintf(missing, sizeof(missing), "%s/no/f", dir);
    assert_int_equal(rt_remove(missing), 0);
    assert_int_equal(rt_remove(dir), -EISDIR);
    temp_dir_remove(dir);
}

static void test_failed_save_leaves_the_old_and_nothing_else(void **state)
{
    char *dir = temp_dir(), path[128];
    const struct rlimit small = { 100, RLIM_INFINITY };
    struct rlimit old;
    char big[1000] = { 0 };
    int err;

    snprintf(path, sizeof(path), "%s/f", dir);
    assert_int_equal(rt_save(path, "old", 3, 0600), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);       /* the disk is full after 100 bytes */
    err = rt_save(path, big, sizeof(big), 0600);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(err, -EFBIG);
    expect_content(path, "old");
    assert_int_equal(entries(dir), 1);
    temp_dir_remove(dir);
}

static void test_save_over_a_directory_or_without_one_is_refused(void **state)
{
    char *dir = temp_dir(), path[160];

    snprintf(path, sizeof(path), "%s/d", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(rt_save(path, "x", 1, 0600) < 0);
    assert_int_equal(entries(dir), 1);
    snprintf(path, sizeof(path), "%s/none/f", dir);
    assert_int_equal(rt_save(path, "x", 1, 0600), -ENOENT);
    snprintf(path, sizeof(path), "%s/", dir);
    assert_int_equal(rt_save(path, "x", 1, 0600), -EINVAL);
    assert_int_equal(rt_save("", "x", 1, 0600), -EINVAL);
    assert_int_equal(rt_save("..", "x", 1, 0600), -EINVAL);
    temp_dir_remove(dir);
}

static void test_save_replaces_a_link_and_not_what_it_names(void **state)
{
    char *dir = temp_dir(), path[128], link[128];
    struct stat st;

    snprintf(path, sizeof(path), "%s/victim", dir);
    snprintf(link, sizeof(link), "%s/link", dir);
    assert_int_equal(rt_save(path, "kept", 4, 0600), 0);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(rt_save(link, "mine", 4, 0600), 0);
    expect_content(path, "kept");
    expect_content(link, "mine");
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    temp_dir_remove(dir);
}

static void test_load_refuses_too_much_and_what_is_no_file(void **state)
{
    char *dir = temp_dir(), path[128], *got = NULL, big[10000];
    size_t len = 42;
    struct stat st;

    snprintf(path, sizeof(path), "%s/f", dir);
    memset(big, 'b', sizeof(big));
    assert_int_equal(rt_save(path, big, sizeof(big), 0600), 0);
    assert_int_equal(rt_load(path, sizeof(big) - 1, &got, &len), -EFBIG);
    assert_int_equal(rt_load(dir, 100, &got, &len), -EISDIR);
    assert_int_equal(rt_load("/dev/null", 100, &got, &len), -EINVAL);
    snprintf(path, sizeof(path), "%s/fifo", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(rt_load(path, 100, &got, &len), -EINVAL);      /* and does not hang */
    assert_int_equal(rt_save(path, "x", 1, 0600), -EINVAL);         /* nor is it replaced */
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    snprintf(path, sizeof(path), "%s/none", dir);
    assert_int_equal(rt_load(path, 100, &got, &len), -ENOENT);
    assert_null(got);
    assert_int_equal(len, 42);
    snprintf(path, sizeof(path), "%s/f", dir);
    assert_int_equal(rt_load(path, sizeof(big), &got, NULL), 0);
    assert_memory_equal(got, big, sizeof(big));
    assert_int_equal(got[sizeof(big)], 0);
    free(got);
    temp_dir_remove(dir);
}

static void test_directories_are_made_as_needed(void **state)
{
    char *dir = temp_dir(), path[160];
    const mode_t old = umask(077);
    struct stat st;

    snprintf(path, sizeof(path), "%s/a//b/c/", dir);
    assert_int_equal(rt_mkdirs(path, 0751), 0);
    assert_int_equal(rt_mkdirs(path, 0700), 0);             /* there already: as it was */
    umask(old);
    snprintf(path, sizeof(path), "%s/a/b", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0751);
    snprintf(path, sizeof(path), "%s/f", dir);
    assert_int_equal(rt_save(path, "x", 1, 0600), 0);
    assert_int_equal(rt_mkdirs(path, 0700), -ENOTDIR);
    snprintf(path, sizeof(path), "%s/f/g", dir);
    assert_int_equal(rt_mkdirs(path, 0700), -ENOTDIR);
    assert_int_equal(rt_mkdirs("", 0700), -EINVAL);
    assert_int_equal(rt_mkdirs("/", 0700), 0);
    temp_dir_remove(dir);
}

struct seen {
    unsigned nr;
    bool a, dots;
};

static void name_seen(void *arg, const char *name)
{
    struct seen *s = arg;

    s->nr++;
    s->a |= !strcmp(name, "a");
    s->dots |= !strcmp(name, ".") || !strcmp(name, "..");
}

static void test_directories_tell_what_is_in_them_and_go_when_empty(void **state)
{
    char *dir = temp_dir(), file[160], sub[160], link[160];
    struct seen seen = { 0 };

    snprintf(file, sizeof(file), "%s/a", dir);
    snprintf(sub, sizeof(sub), "%s/b", dir);
    snprintf(link, sizeof(link), "%s/c", dir);
    assert_int_equal(rt_save(file, "x", 1, 0600), 0);
    assert_int_equal(rt_mkdirs(sub, 0700), 0);
    assert_int_equal(symlink(file, link), 0);
    assert_int_equal(rt_dir_each(dir, name_seen, &seen), 0);
    assert_int_equal(seen.nr, 3);
    assert_true(seen.a && !seen.dots);
    assert_int_equal(rt_kind(file), RT_KIND_FILE);
    assert_int_equal(rt_kind(sub), RT_KIND_DIR);
    assert_int_equal(rt_kind(link), RT_KIND_OTHER);
    assert_int_equal(rt_rmdir(dir), -ENOTEMPTY);
    assert_int_equal(rt_rmdir(file), -ENOTDIR);
    assert_int_equal(rt_rmdir(sub), 0);
    assert_int_equal(rt_kind(sub), -ENOENT);
    assert_int_equal(rt_rmdir(sub), -ENOENT);
    assert_int_equal(rt_dir_each(sub, name_seen, &seen), -ENOENT);
    assert_int_equal(rt_dir_each(file, name_seen, &seen), -ENOTDIR);
    assert_int_equal(seen.nr, 3);
    temp_dir_remove(dir);
}

static unsigned names_in(const char *dir)
{
    struct seen seen = { 0 };

    assert_int_equal(rt_dir_each(dir, name_seen, &seen), 0);
    return seen.nr;
}

static void put(const char *dir, const char *name)
{
    char path[160];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_non_null(f = fopen(path, "w"));
    fclose(f);
}

static void test_sweep_takes_what_half_a_save_left_and_nothing_else(void **state)
{
    static const char *const others[] = { "a", ".a", ".a.0123456789abcde", ".a.0123456789abcdeg", "a.0123456789abcdef",
                                          ".a.0123456789ABCDEF", "..0123456789abcdef", ".a.0123456789abcdef0" };
    char *dir = temp_dir(), name[40];

    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        put(dir, others[i]);
    for (unsigned i = 0; i < 40; i++) {     /* more than it looks at in one go */
        snprintf(name, sizeof(name), ".a.%016x", i);
        put(dir, name);
    }
    put(dir, ".b.0123456789abcdef");
    rt_save_sweep(dir, "a");
    assert_int_equal(names_in(dir), ARRAY_SIZE(others) + 1);
    rt_save_sweep(dir, NULL);
    assert_int_equal(names_in(dir), ARRAY_SIZE(others));
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        char path[160];

        snprintf(path, sizeof(path), "%s/%s", dir, others[i]);
        assert_int_equal(rt_kind(path), RT_KIND_FILE);
    }
    snprintf(name, sizeof(name), "%s/none", dir);
    rt_save_sweep(name, NULL);
    temp_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saved_file_loads_with_its_mode),
        cmocka_unit_test(test_save_replaces_and_a_reader_keeps_the_old),
        cmocka_unit_test(test_remove_takes_the_name_and_does_not_mind_its_absence),
        cmocka_unit_test(test_failed_save_leaves_the_old_and_nothing_else),
        cmocka_unit_test(test_save_over_a_directory_or_without_one_is_refused),
        cmocka_unit_test(test_save_replaces_a_link_and_not_what_it_names),
        cmocka_unit_test(test_load_refuses_too_much_and_what_is_no_file),
        cmocka_unit_test(test_directories_are_made_as_needed),
        cmocka_unit_test(test_directories_tell_what_is_in_them_and_go_when_empty),
        cmocka_unit_test(test_sweep_takes_what_half_a_save_left_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
