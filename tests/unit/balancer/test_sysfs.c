/*
 * test_sysfs.c - files below a root: what is read and written, and what a hostile tree cannot do
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "tests/unit/balancer/fake_sys.h"

static int read_of(const struct fake_sys *f, const char *path, char out[static BAL_SYS_TEXT_MAX])
{
    strcpy(out, "before");
    return bal_sys_read(f->sys, path, out, BAL_SYS_TEXT_MAX, NULL);
}

static void test_sysfs_reads_without_the_line_end(void **state)
{
    const struct fake_sys *f = *state;
    char text[BAL_SYS_TEXT_MAX];
    unsigned num = 7;

    fake_put(f, "sys/class/a/b", "value 1");
    assert_int_equal(read_of(f, "sys/class/a/b", text), 7);
    assert_string_equal(text, "value 1");
    fake_bytes(f, "proc/x", "", 0);
    assert_int_equal(read_of(f, "proc/x", text), 0);
    assert_string_equal(text, "");
    fake_put(f, "sys/n", "42");
    assert_int_equal(bal_sys_read_num(f->sys, "sys/n", &num), 0);
    assert_int_equal(num, 42);
    for (const char *const *bad = (const char *const[]){ "", "-1", "4x", " 4", "99999999999", NULL }; *bad;
         bad++) {
        fake_put(f, "sys/n", *bad);
        assert_int_equal(bal_sys_read_num(f->sys, "sys/n", &num), -EINVAL);
    }
    assert_int_equal(num, 42);
}

static void test_sysfs_refuses_what_leads_out_of_the_tree(void **state)
{
    const struct fake_sys *f = *state;
    char text[BAL_SYS_TEXT_MAX], secret[512];

    fake_put(f, "secret", "s");
    snprintf(secret, sizeof(secret), "%s/secret", f->root);
    fake_link(f, "sys/class/abs", secret);
    fake_link(f, "sys/class/up", "../../secret");
    fake_link(f, "sys/class/dir", "../..");
    fake_link(f, "sys/class/inside", "../devices/x");
    fake_put(f, "sys/devices/x", "fine");
    assert_int_equal(read_of(f, "sys/class/abs", text), -EXDEV);
    assert_int_equal(read_of(f, "sys/class/up", text), -EXDEV);
    assert_int_equal(read_of(f, "sys/class/dir/secret", text), -EXDEV);
    assert_int_equal(read_of(f, "sys/../secret", text), -EXDEV);
    assert_int_equal(read_of(f, "secret", text), -EINVAL);
    assert_int_equal(read_of(f, "/sys/devices/x", text), -EINVAL);
    assert_string_equal(text, "before");
    assert_int_equal(read_of(f, "sys/class/inside", text), 4);
    assert_int_equal(bal_sys_write(f->sys, "sys/class/up", "x", 0), -EXDEV);
    fake_link(f, "sys/loop", "loop");
    assert_int_equal(read_of(f, "sys/loop", text), -ELOOP);
}

static void test_sysfs_refuses_what_is_no_text(void **state)
{
    const struct fake_sys *f = *state;
    char text[BAL_SYS_TEXT_MAX], big[BAL_SYS_TEXT_MAX + 2], path[768], small[4];

    memset(big, 'x', sizeof(big));
    fake_bytes(f, "sys/big", big, sizeof(big));
    assert_int_equal(read_of(f, "sys/big", text), -EMSGSIZE);
    fake_bytes(f, "sys/nul", "a\0b", 3);
    assert_int_equal(read_of(f, "sys/nul", text), -EBADMSG);
    fake_put(f, "sys/four", "four");
    assert_int_equal(bal_sys_read(f->sys, "sys/four", small, sizeof(small), NULL), -EMSGSIZE);
    fake_dirs(f, "sys/dir/");
    assert_int_equal(read_of(f, "sys/dir", text), -EINVAL);
    assert_int_equal(read_of(f, "sys/none", text), -ENOENT);
    fake_path(f, "sys/fifo", path);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody at the other end: must not block */
    assert_int_equal(read_of(f, "sys/fifo", text), -EINVAL);
    assert_true(bal_sys_write(f->sys, "sys/fifo", "x", 0) < 0);
}

static void test_sysfs_writes_the_file_it_has_read_and_no_other(void **state)
{
    const struct fake_sys *f = *state;
    char text[BAL_SYS_TEXT_MAX];
    uint64_t id;

    fake_put(f, "sys/v", "long old value");
    assert_int_equal(bal_sys_read(f->sys, "sys/v", text, sizeof(text), &id), 14);
    assert_int_equal(bal_sys_write(f->sys, "sys/v", "new", id), 0);
    assert_string_equal(fake_get(f, "sys/v"), "new");
    fake_put(f, "sys/other", "x"); /* made while the first is there, so it cannot have its inode */
    assert_int_equal(bal_sys_write(f->sys, "sys/other", "y", id), -ESTALE);
    assert_string_equal(fake_get(f, "sys/other"), "x");
    assert_int_equal(bal_sys_write(f->sys, "sys/none", "y", id), -ENOENT); /* and none is made */
    assert_int_equal(read_of(f, "sys/none", text), -ENOENT);
}

static void test_sysfs_lists_in_order_of_numbers(void **state)
{
    const struct fake_sys *f = *state;
    char names[3][BAL_SYS_NAME_MAX];
    char link[64], longname[200] = "sys/q/rx-";

    fake_put(f, "sys/q/rx-10", "");
    fake_put(f, "sys/q/rx-2", "");
    fake_put(f, "sys/q/tx-0", "");
    memset(longname + 9, '1', 100);
    fake_put(f, longname, ""); /* longer than any name we know: left out */
    assert_int_equal(bal_sys_list(f->sys, "sys/q", "rx-", names, 3), 2);
    assert_string_equal(names[0], "rx-2");
    assert_string_equal(names[1], "rx-10");
    assert_int_equal(bal_sys_list(f->sys, "sys/q", "rx-", names, 1), 1);
    assert_int_equal(bal_sys_list(f->sys, "sys/none", "", names, 3), -ENOENT);
    fake_link(f, "sys/l", "../somewhere/else");
    assert_int_equal(bal_sys_link(f->sys, "sys/l", link, sizeof(link)), 17);
    assert_string_equal(link, "../somewhere/else");
    assert_int_equal(bal_sys_link(f->sys, "sys/l", link, 17), -ENAMETOOLONG);
    assert_int_equal(bal_sys_link(f->sys, "sys/q", link, sizeof(link)), -EINVAL);
}

static void test_sysfs_has_no_path_that_does_not_fit(void **state)
{
    char out[BAL_SYS_PATH_MAX], name[BAL_SYS_PATH_MAX];

    (void)state;
    bal_sys_path(out, "sys/q/rx-%u/%s", 7, "rps_cpus");
    assert_string_equal(out, "sys/q/rx-7/rps_cpus");
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 5] = '\0';
    bal_sys_path(out, "sys/%s", name); /* to the last byte */
    assert_int_equal(strlen(out), BAL_SYS_PATH_MAX - 1);
    bal_sys_path(out, "/sys/%s", name);
    assert_string_equal(out, "");
}

static void test_sysfs_says_what_is_wrong_with_a_root(void **state)
{
    const struct fake_sys *f = *state;
    char why[256], path[512];
    struct bal_sys *s = NULL;

    snprintf(path, sizeof(path), "%s/nothing", f->root);
    assert_int_equal(bal_sys_open(&s, path, why), -ENOENT);
    assert_non_null(strstr(why, "nothing/sys"));
    assert_null(s);
    assert_false(bal_sys_is_real(f->sys));
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, fake_setup, fake_teardown)
    const struct CMUnitTest tests[] = {
        T(test_sysfs_reads_without_the_line_end), T(test_sysfs_refuses_what_leads_out_of_the_tree),
        T(test_sysfs_refuses_what_is_no_text),    T(test_sysfs_writes_the_file_it_has_read_and_no_other),
        T(test_sysfs_lists_in_order_of_numbers),  T(test_sysfs_says_what_is_wrong_with_a_root),
        T(test_sysfs_has_no_path_that_does_not_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
