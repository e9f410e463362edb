/* test_log.c - lines for the operator: level, length, what a peer may not do with them */
#include <unistd.h>

#include "rt_test.h"

#include "reactor/rt_log.h"

/* Runs fn with stderr in a pipe's place. Return: what it wrote, free() it. */
static char *caught(void (*fn)(void))
{
    const int saved = dup(STDERR_FILENO);
    FILE *f = tmpfile();
    char *text = calloc(1, 100000);
    size_t n;

    assert_non_null(f);
    assert_true(dup2(fileno(f), STDERR_FILENO) >= 0);
    fn();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    rewind(f);
    n = fread(text, 1, 99999, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static void log_levels(void)
{
    rt_log(RT_ERR, "an error %d", 1);
    rt_log(RT_INFO, "said");
    rt_log(RT_DEBUG, "not said");
    rt_log_level(RT_ERR);
    rt_log(RT_WARN, "not said");
    rt_log_level(RT_DEBUG);
    rt_log(RT_DEBUG, "said");
    rt_log_level(RT_INFO);
}

static void test_lines_above_the_level_are_dropped(void **state)
{
    char *text = caught(log_levels);

    assert_string_equal(text, "error: an error 1\nsaid\ndebug: said\n");
    free(text);
}

static void log_forged(void)
{
    rt_log(RT_WARN, "login of %s refused", "iqn.x\nerror: all is lost\r\x1b[2J\x7f");
}

static void test_a_name_cannot_forge_a_line(void **state)
{
    char *text = caught(log_forged);

    assert_string_equal(text, "warning: login of iqn.x?error: all is lost??[2J? refused\n");
    free(text);
}

static void log_long(void)
{
    char big[5000];

    memset(big, 'x', sizeof(big));
    big[sizeof(big) - 1] = '\0';
    rt_log(RT_INFO, "%s", big);
    rt_log(RT_INFO, "after");
}

static void test_a_long_line_is_cut(void **state)
{
    char *text = caught(log_long);

    assert_true(strlen(text) <= 1000 + strlen("after\n"));
    assert_non_null(strstr(text, "x\nafter\n"));
    free(text);
}

static void log_flood(void)
{
    for (unsigned i = 0; i < 1000; i++)
        rt_log_peer(RT_INFO, "refused %u", i);
    rt_log(RT_ERR, "heard");
    sleep(2);
    rt_log_peer(RT_INFO, "refused %u", 1000u);
}

static void test_a_flood_passes_as_a_burst_and_a_count(void **state)
{
    char *text = caught(log_flood);
    unsigned lines = 0;

    for (const char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    assert_true(lines >= 10 && lines < 40);
    assert_non_null(strstr(text, "error: heard\n"));
    assert_null(strstr(text, "refused 999\n"));
    assert_non_null(strstr(text, "lines dropped)\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_above_the_level_are_dropped),
        cmocka_unit_test(test_a_name_cannot_forge_a_line),
        cmocka_unit_test(test_a_long_line_is_cut),
        cmocka_unit_test(test_a_flood_passes_as_a_burst_and_a_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
