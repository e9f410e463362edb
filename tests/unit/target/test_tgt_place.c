/* Which core a session gets on a target that knows its machine, and what is said of it. */
#include <semaphore.h>
#include "tgt_bed.h"

static struct bal_topo *topo;

static int up(void **state)
{
    char why[BAL_TEXT_MAX];

    (void)state;
    if (bal_topo_new(&topo, "pack:1 core:2 pu:1", why))
        fail_msg("%s", why);
    bed_topo = topo;
    bed_start(&bed, 2);
    bed_disk(&bed);
    return 0;
}

static int over(void **state)
{
    const int ret = down(state);

    bal_topo_free(topo);
    return ret;
}

/* Each of the two cores two, and the last of the four is told so. */
static void test_sessions_land_evenly_and_know_why(void **state)
{
    struct peer_end *p[4];
    unsigned free_nr = 0;
    json_t *list, *s;
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_SIZE(p); i++)
        p[i] = peer_logged_in(&bed, (uint8_t)(20 + i), "");
    list = bed_call(&bed, "session.list", NULL);
    assert_int_equal(json_array_size(list), 4);
    json_array_foreach(list, i, s) {
        const char *why = json_string_value(json_object_get(s, "why"));

        assert_non_null(why);
        assert_true(strstr(why, "free, one of ") || strstr(why, "none of 2 cores is free; fewest sessions"));
        free_nr += strstr(why, "free, one of ") != NULL;
    }
    assert_int_equal(free_nr, 2);
    json_decref(list);
    for (i = 0; i < ARRAY_SIZE(p); i++)
        peer_logout(p[i]);
}

static void test_the_layout_says_why_each_is_there(void **state)
{
    struct peer_end *p = peer_logged_in(&bed, 1, "");
    json_t *layout = bed_call(&bed, "layout.show", NULL), *core, *s;
    unsigned placed = 0;
    size_t i, k;

    (void)state;
    json_array_foreach(json_object_get(layout, "cores"), i, core) {
        assert_true(json_is_number(json_object_get(core, "host")));
        assert_int_equal(json_array_size(json_object_get(core, "sessions")),
                         json_array_size(json_object_get(core, "placed")));
        json_array_foreach(json_object_get(core, "placed"), k, s) {
            assert_true(json_integer_value(json_object_get(s, "session")) > 0);
            assert_non_null(strstr(json_string_value(json_object_get(s, "why")), "core "));
            placed++;
        }
    }
    assert_int_equal(placed, 1);
    json_decref(layout);
    peer_logout(p);
}

/* On the first core: where the disks under the units are said to be, which no test can bring about otherwise. */
static struct placed_node {
    struct rt_msg msg;
    sem_t done;
    int node;
} placed_node;

static void node_set(struct rt_msg *m)
{
    (void)m;
    rt_list_for (l, &bed.tgt->units)
        rt_list_entry(l, struct unit, link)->node = placed_node.node;
    sem_post(&placed_node.done);
}

/* A peer of this host comes over no card. */
static void test_a_neighbour_goes_by_the_disks(void **state)
{
    static const struct {
        int node;
        const char *words;
    } rows[] = {
        { 0, "node 0 as the logical units' disk has" },
        { 1, "node 0 though the logical units' disk is on node 1" },
        { BAL_NODE_ANY, "free, one of 2 free among 2 cores" },
    };

    (void)state;
    assert_int_equal(sem_init(&placed_node.done, 0, 0), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct peer_end *p;
        json_t *list;
        const char *why;

        placed_node.node = rows[i].node;
        placed_node.msg.fn = node_set;
        rt_post(rt_host_at(bed.host, 0), &placed_node.msg);
        sem_wait(&placed_node.done);
        p = peer_logged_in(&bed, (uint8_t)(40 + i), "");
        list = bed_call(&bed, "session.list", NULL);
        why = json_string_value(json_object_get(json_array_get(list, 0), "why"));
        if (!strstr(why, rows[i].words) || (rows[i].node == BAL_NODE_ANY && strstr(why, "node")))
            fail_msg("node %d: %s", rows[i].node, why);
        json_decref(list);
        peer_logout(p);
        bed_settle(&bed, 0);
    }
}

/* Every helper thread of a host is kept until they are let go. */
#define HELD_MAX 64u /* as many as a host may have */
static struct held {
    struct rt_msg msg;
    struct rt_work work[HELD_MAX];
    sem_t go, done;
    struct bed *bed;
    unsigned arrivals;
} held;

static void held_run(struct rt_work *w)
{
    (void)w;
    sem_wait(&held.go);
}

static void held_done(struct rt_work *w)
{
    (void)w;
}

static void held_begin(struct rt_msg *m)
{
    (void)m;
    for (unsigned i = 0; i < HELD_MAX; i++) {
        held.work[i] = (struct rt_work){ .run = held_run, .done = held_done };
        rt_work(rt_host_at(held.bed->host, 0), &held.work[i]);
    }
    sem_post(&held.done);
}

static void held_look(struct rt_msg *m)
{
    (void)m;
    held.arrivals = held.bed->tgt->arrivals_nr;
    sem_post(&held.done);
}

static void held_call(void (*fn)(struct rt_msg *m))
{
    held.msg.fn = fn;
    rt_post(rt_host_at(held.bed->host, 0), &held.msg);
    sem_wait(&held.done);
}

static void *held_let_go(void *arg)
{
    (void)arg;
    usleep(100 * 1000);     /* into the stop, mostly; before it or after is fine too */
    for (unsigned i = 0; i < HELD_MAX; i++)
        sem_post(&held.go);
    return NULL;
}

/* A stop finds connections of which nobody could say yet where they come from: it waits for them, and they are closed. */
static void test_a_stop_waits_for_connections_not_placed_yet(void **state)
{
    struct peer_end *p[3];
    pthread_t thread;
    struct bed b;

    (void)state;
    bed_start(&b, 2);
    held.bed = &b;
    assert_int_equal(sem_init(&held.go, 0, 0), 0);
    assert_int_equal(sem_init(&held.done, 0, 0), 0);
    held_call(held_begin);
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        p[i] = peer_open(&b);
    for (unsigned i = 0; i < PEER_MS && held.arrivals < ARRAY_SIZE(p); i++) {
        held_call(held_look);
        usleep(1000);
    }
    assert_int_equal(held.arrivals, ARRAY_SIZE(p));
    assert_int_equal(pthread_create(&thread, NULL, held_let_go, NULL), 0);
    bed_down(&b, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(p); i++)
        peer_close(p[i]);
    unlink(b.config);
    assert_int_equal(rmdir(b.dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_sessions_land_evenly_and_know_why, fresh),
        cmocka_unit_test_setup(test_the_layout_says_why_each_is_there, fresh),
        cmocka_unit_test_setup(test_a_neighbour_goes_by_the_disks, fresh),
        cmocka_unit_test(test_a_stop_waits_for_connections_not_placed_yet),
    };

    return cmocka_run_group_tests(tests, up, over);
}
