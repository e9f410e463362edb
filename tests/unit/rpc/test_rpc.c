/* The control socket: server and client on one reactor, and peers that do not keep to the rules. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "rpc/rpc.h"

struct fix {
    struct rt_host *host;
    struct rt *rt;
    struct rpc_server *server;
    char dir[32], path[64];
    struct rpc_call *held[64]; /* calls of "hold", unanswered */
    unsigned held_nr, calls;
};

/* ---- methods --------------------------------------------------------------------------------------------- */

static void do_echo(void *user, struct rpc_call *call, json_t *params)
{
    ((struct fix *)user)->calls++;
    rpc_reply(call, json_incref(params));
}

static void do_fail(void *user, struct rpc_call *call, json_t *params)
{
    rpc_fail(call, RPC_FAILED, "no such %s: %s", "thing", json_string_value(json_object_get(params, "what")));
}

static void do_bytes(void *user, struct rpc_call *call, json_t *params)
{
    rpc_fail(call, RPC_FAILED, "a peer said %s", "\xff\xfe");
}

static void do_nothing(void *user, struct rpc_call *call, json_t *params)
{
    rpc_reply(call, NULL);
}

static void do_hold(void *user, struct rpc_call *call, json_t *params)
{
    struct fix *f = user;

    f->held[f->held_nr++] = call;
}

static const struct rpc_method methods[] = {
    { "echo", do_echo },       { "fail", do_fail }, { "bytes", do_bytes },
    { "nothing", do_nothing }, { "hold", do_hold },
};

/* ---- the fixture ----------------------------------------------------------------------------------------- */

static void turns(struct fix *f, unsigned n)
{
    while (n--)
        assert_true(rt_turn(f->rt, 2 * RT_MS) >= 0);
}

static int set_up(void **state)
{
    static const int core = -1;
    const struct rt_conf conf = { .cores = &core, .cores_nr = 1, .mode = RT_MODE_INTERRUPT };
    struct fix *f = calloc(1, sizeof(*f));

    strcpy(f->dir, "/tmp/rpc-test-XXXXXX");
    if (!f || rt_host_new(&f->host, &conf) || !mkdtemp(f->dir))
        return -1;
    f->rt = rt_host_at(f->host, 0);
    snprintf(f->path, sizeof(f->path), "%s/sock", f->dir);
    *state = f;
    return rpc_listen(&f->server, f->rt, f->path, methods, ARRAY_SIZE(methods), f);
}

static int tear_down(void **state)
{
    struct fix *f = *state;
    struct stat st;

    for (unsigned i = 0; i < f->held_nr; i++)
        if (f->held[i])
            rpc_reply(f->held[i], NULL);
    rpc_close(f->server);
    turns(f, 10);
    if (!stat(f->path, &st))
        return -1; /* closing removes the socket */
    rmdir(f->dir);
    rt_host_free(f->host);
    free(f);
    return 0;
}

static int raw_connect(struct fix *f)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    strcpy(un.sun_path, f->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    return fd;
}

static void raw_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has come for a client after some turns. Return: bytes; 0: closed; -1: nothing yet. */
static ssize_t raw_read(struct fix *f, int fd, char *buf, size_t len)
{
    size_t got = 0;
    ssize_t n;

    for (unsigned i = 0; i < 20; i++) {
        turns(f, 1);
        while ((n = recv(fd, buf + got, len - 1 - got, 0)) > 0)
            got += (size_t)n;
        if (!n || got)
            break;
    }
    turns(f, 3);
    while ((n = recv(fd, buf + got, len - 1 - got, 0)) > 0)
        got += (size_t)n;
    buf[got] = '\0';
    return got ? (ssize_t)got : n;
}

static void expect_error(struct fix *f, const char *request, int code, const char *words)
{
    char buf[4096], want[32];
    int fd = raw_connect(f);

    raw_send(fd, request);
    assert_true(raw_read(f, fd, buf, sizeof(buf)) > 0);
    snprintf(want, sizeof(want), "\"code\":%d", code);
    if (!strstr(buf, want) || !strstr(buf, words))
        fail_msg("%s answered %s", request, buf);
    close(fd);
}

/* ---- requests -------------------------------------------------------------------------------------------- */

static void test_request_brings_its_result(void **state)
{
    struct fix *f = *state;
    json_t *result;
    char why[512];

    assert_int_equal(rpc_request(f->rt, f->path, "echo", json_pack("{s:i}", "n", 7), RT_S, &result, why), 0);
    assert_int_equal(json_integer_value(json_object_get(result, "n")), 7);
    json_decref(result);
    assert_int_equal(rpc_request(f->rt, f->path, "nothing", json_object(), RT_S, &result, why), 0);
    assert_int_equal(json_object_size(result), 0);
    json_decref(result);
}

static void test_failure_of_a_method_brings_its_words(void **state)
{
    struct fix *f = *state;
    json_t *result;
    char why[512];

    assert_int_equal(
        rpc_request(f->rt, f->path, "fail", json_pack("{s:s}", "what", "lun 3"), RT_S, &result, why),
        -EREMOTEIO);
    assert_string_equal(why, "no such thing: lun 3");
    assert_int_equal(rpc_request(f->rt, f->path, "bytes", json_object(), RT_S, &result, why), -EREMOTEIO);
    assert_string_equal(why, "a peer said ??");
    assert_int_equal(rpc_request(f->rt, f->path, "ecko", json_object(), RT_S, &result, why), -EREMOTEIO);
    assert_non_null(strstr(why, "no method 'ecko'"));
}

static void test_large_result_arrives_whole(void **state)
{
    struct fix *f = *state;
    char *big = malloc(900001), why[512];
    json_t *result;

    memset(big, 'x', 900000);
    big[900000] = '\0';
    assert_int_equal(rpc_request(f->rt, f->path, "echo", json_pack("{s:s}", "s", big), 5 * RT_S, &result, why),
                     0);
    assert_string_equal(json_string_value(json_object_get(result, "s")), big);
    json_decref(result);
    free(big);
}

static void test_no_daemon_is_told_apart_from_one_that_is_silent(void **state)
{
    struct fix *f = *state;
    char why[512], stale[80];
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    json_t *result;
    int fd;

    assert_int_equal(
        rpc_request(f->rt, "/tmp/rpc-test-not-there.sock", "echo", json_object(), RT_S, &result, why), -ENOENT);
    assert_non_null(strstr(why, "no daemon listens at /tmp/rpc-test-not-there.sock"));
    snprintf(stale, sizeof(stale), "%s.stale", f->path);
    strcpy(un.sun_path, stale);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(rpc_request(f->rt, stale, "echo", json_object(), RT_S, &result, why), -ECONNREFUSED);
    close(fd);
    unlink(stale);
    assert_int_equal(rpc_request(f->rt, f->path, "hold", json_object(), 30 * RT_MS, &result, why), -ETIMEDOUT);
    assert_non_null(strstr(why, "no answer to 'hold' in time"));
}

static void test_path_that_fits_no_socket_address_is_refused(void **state)
{
    struct fix *f = *state;
    char path[200], why[512];
    json_t *result;

    memset(path, 'a', sizeof(path));
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(rpc_request(f->rt, path, "echo", json_object(), RT_S, &result, why), -ENAMETOOLONG);
    assert_non_null(strstr(why, "choose a shorter"));
}

/* ---- peers that break rules ------------------------------------------------------------------------------ */

static void test_what_is_no_request_is_refused_in_its_own_terms(void **state)
{
    struct fix *f = *state;

    expect_error(f, "hello\n", RPC_PARSE, "not JSON");
    expect_error(f, "{\"jsonrpc\":\"2.0\",}\n", RPC_PARSE, "not JSON");
    expect_error(f, "{\"a\":1,\"a\":2}", RPC_PARSE, "duplicate");
    expect_error(f, "[{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":1}]", RPC_INVALID_REQUEST, "batches");
    expect_error(f, "17\n", RPC_PARSE, "not JSON");
    expect_error(f, "{\"method\":\"echo\",\"id\":1}", RPC_INVALID_REQUEST, "jsonrpc");
    expect_error(f, "{\"jsonrpc\":\"2.0\",\"id\":1}", RPC_INVALID_REQUEST, "method");
    expect_error(f, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":{}}", RPC_INVALID_REQUEST, "id");
    expect_error(f, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"params\":[1],\"id\":1}", RPC_INVALID_REQUEST,
                 "by name");
    expect_error(f, "{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"id\":1}", RPC_NO_METHOD, "no method 'x'");
    assert_int_equal(f->calls, 0);
}

static void test_request_over_the_limit_ends_the_client_and_no_other(void **state)
{
    struct fix *f = *state;
    int fd = raw_connect(f), other = raw_connect(f);
    char *big = malloc(RPC_REQUEST_MAX + 10), buf[1024];
    size_t sent = 0;
    ssize_t n;

    memset(big, ' ', RPC_REQUEST_MAX + 10);
    big[0] = '{';
    while (sent < RPC_REQUEST_MAX + 10 &&
           (n = send(fd, big + sent, RPC_REQUEST_MAX + 10 - sent, MSG_NOSIGNAL)) != 0) {
        if (n > 0)
            sent += (size_t)n;
        else if (errno != EAGAIN)
            break;
        turns(f, 1);
    }
    assert_true(raw_read(f, fd, buf, sizeof(buf)) > 0);
    assert_non_null(strstr(buf, "at most 1 MiB"));
    assert_int_equal(raw_read(f, fd, buf, sizeof(buf)), 0);
    raw_send(other, "{\"jsonrpc\":\"2.0\",\"method\":\"nothing\",\"id\":\"a\"}");
    assert_true(raw_read(f, other, buf, sizeof(buf)) > 0);
    assert_non_null(strstr(buf, "\"id\":\"a\""));
    free(big);
    close(fd);
    close(other);
}

static void test_nesting_without_end_is_refused(void **state)
{
    struct fix *f = *state;
    char *deep = malloc(200002);

    memset(deep, '[', 100000);
    memset(deep + 100000, ']', 100000);
    deep[200000] = '\0';
    expect_error(f, deep, RPC_PARSE, "depth");
    free(deep);
}

static void test_requests_in_one_piece_are_all_answered(void **state)
{
    struct fix *f = *state;
    char buf[8192], *p = buf;
    int fd = raw_connect(f);
    unsigned n = 0;

    for (unsigned i = 0; i < 50; i++) { /* more than may be unanswered at a time */
        char one[80];

        snprintf(one, sizeof(one), "{\"jsonrpc\":\"2.0\",\"method\":\"nothing\",\"id\":%u}\n", i);
        raw_send(fd, one);
    }
    for (unsigned i = 0; i < 60 && n < 50; i++) {
        ssize_t got = raw_read(f, fd, p, sizeof(buf) - (size_t)(p - buf));

        p += got > 0 ? got : 0;
        n = 0;
        for (const char *q = buf; (q = strchr(q, '\n')); q++)
            n++;
    }
    assert_int_equal(n, 50);
    close(fd);
}

static void test_client_with_too_many_unanswered_calls_is_not_read_from(void **state)
{
    struct fix *f = *state;
    int fd = raw_connect(f);

    for (unsigned i = 0; i < 60; i++)
        raw_send(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"hold\",\"id\":1}");
    turns(f, 30);
    assert_int_equal(f->held_nr, 32);
    for (unsigned i = 0; i < 32; i++) {
        rpc_reply(f->held[i], NULL);
        f->held[i] = NULL;
    }
    turns(f, 60);
    assert_int_equal(f->held_nr, 60); /* and goes on when there is room */
    close(fd);
}

static void test_answers_come_in_the_order_in_which_handlers_finish(void **state)
{
    struct fix *f = *state;
    char buf[1024];
    int fd = raw_connect(f);

    raw_send(
        fd,
        "{\"jsonrpc\":\"2.0\",\"method\":\"hold\",\"id\":1}{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":2}");
    assert_true(raw_read(f, fd, buf, sizeof(buf)) > 0);
    assert_non_null(strstr(buf, "\"id\":2"));
    rpc_reply(f->held[0], NULL);
    f->held[0] = NULL;
    assert_true(raw_read(f, fd, buf, sizeof(buf)) > 0);
    assert_non_null(strstr(buf, "\"id\":1"));
    close(fd);
}

static void test_answer_to_a_client_that_left_goes_nowhere(void **state)
{
    struct fix *f = *state;
    int fd = raw_connect(f);

    raw_send(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"hold\",\"id\":1}");
    turns(f, 5);
    assert_int_equal(f->held_nr, 1);
    close(fd);
    turns(f, 5);
    rpc_reply(f->held[0], json_pack("{s:i}", "n", 1));
    f->held[0] = NULL;
}

static void test_client_that_only_listens_on_still_gets_its_answer(void **state)
{
    struct fix *f = *state;
    char buf[1024];
    int fd = raw_connect(f);

    raw_send(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\",\"id\":1}");
    shutdown(fd, SHUT_WR);
    assert_true(raw_read(f, fd, buf, sizeof(buf)) > 0);
    assert_non_null(strstr(buf, "\"result\""));
    assert_int_equal(raw_read(f, fd, buf, sizeof(buf)), 0);
    close(fd);
}

static void test_notification_is_done_and_not_answered(void **state)
{
    struct fix *f = *state;
    char buf[1024];
    int fd = raw_connect(f);

    raw_send(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"echo\"}");
    assert_int_equal(raw_read(f, fd, buf, sizeof(buf)), -1);
    assert_int_equal(f->calls, 1);
    close(fd);
}

static void test_one_client_too_many_is_told_so(void **state)
{
    struct fix *f = *state;
    int fd[RPC_CLIENTS_MAX + 1];
    char buf[1024];

    for (unsigned i = 0; i <= RPC_CLIENTS_MAX; i++) {
        fd[i] = raw_connect(f);
        turns(f, 2);
    }
    assert_true(raw_read(f, fd[RPC_CLIENTS_MAX], buf, sizeof(buf)) > 0);
    assert_non_null(strstr(buf, "at most 64"));
    assert_int_equal(raw_read(f, fd[RPC_CLIENTS_MAX], buf, sizeof(buf)), 0);
    for (unsigned i = 0; i <= RPC_CLIENTS_MAX; i++)
        close(fd[i]);
    turns(f, 10);
}

static void test_socket_is_for_its_owner_alone(void **state)
{
    struct fix *f = *state;
    struct stat st;

    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_request_brings_its_result),
        T(test_failure_of_a_method_brings_its_words),
        T(test_large_result_arrives_whole),
        T(test_no_daemon_is_told_apart_from_one_that_is_silent),
        T(test_path_that_fits_no_socket_address_is_refused),
        T(test_what_is_no_request_is_refused_in_its_own_terms),
        T(test_request_over_the_limit_ends_the_client_and_no_other),
        T(test_nesting_without_end_is_refused),
        T(test_requests_in_one_piece_are_all_answered),
        T(test_client_with_too_many_unanswered_calls_is_not_read_from),
        T(test_answers_come_in_the_order_in_which_handlers_finish),
        T(test_answer_to_a_client_that_left_goes_nowhere),
        T(test_client_that_only_listens_on_still_gets_its_answer),
        T(test_notification_is_done_and_not_answered),
        T(test_one_client_too_many_is_told_so),
        T(test_socket_is_for_its_owner_alone),
    };

    return cmocka_run_group_tests_name("rpc", tests, NULL, NULL);
}
