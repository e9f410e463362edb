/*
 * layout.c - the policy, pins and placement; what of them outlives the daemon
 *
 * A session is told from others by its target, its portal and which one it is of those there: its number ends with it.
 * layout.conf in the run directory holds what was decided by people, in the form of a layout file; journal.c what followed
 * from it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/layout.h"
#include "rpc/json.h"

#define CONF_LEN_MAX (4u << 20) /* bytes of layout.conf */

/* ---- who is meant ---------------------------------------------------------------------------------------- */

void layout_seat(const struct sess *s, struct bal_seat *out)
{
    *out = (struct bal_seat){ .portal = s->wish.portal, .index = s->index, .cpu = s->core };
    out->portal.tpgt = 0;
    snprintf(out->target, sizeof(out->target), "%s", s->wish.iqn);
}

static bool is_seat_of(const struct sess *s, const struct bal_seat *seat)
{
    return !s->settler && s->state != SESS_ENDING && s->index == seat->index &&
           sess_matches(s, seat->target, &seat->portal);
}

struct sess *layout_sess_of(struct mgr *m, const struct bal_seat *seat)
{
    rt_list_for (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (is_seat_of(s, seat))
            return s;
    }
    return NULL;
}

static bool number(const char *text, unsigned *out)
{
    char *end;
    unsigned long v;

    if (*text < '0' || *text > '9')
        return false;
    v = strtoul(text, &end, 10);
    if (*end || v > BAL_INDEX_MAX)
        return false;
    *out = (unsigned)v;
    return true;
}

/* "TARGET[@PORTAL][#INDEX]"; *portal, *index: whether they were said. */
static bool words_take(const char *name, struct bal_seat *seat, bool *portal, bool *index)
{
    char text[ISCSI_NAME_LEN_MAX + ISCSI_PORTAL_STR_MAX + 16], *at, *hash;

    if (strlen(name) >= sizeof(text))
        return false;
    strcpy(text, name);
    *seat = (struct bal_seat){ 0 };
    if ((*index = (hash = strrchr(text, '#')))) {
        *hash = '\0';
        if (!number(hash + 1, &seat->index))
            return false;
    }
    if ((*portal = (at = strchr(text, '@')))) {
        *at = '\0';
        if (iscsi_portal_parse(&seat->portal, at + 1))
            return false;
        seat->portal.tpgt = 0;
    }
    return !iscsi_name_refusal(text, seat->target);
}

bool layout_seat_of(const char *name, struct bal_seat *out)
{
    bool portal, index;

    return words_take(name, out, &portal, &index) && portal;
}

static struct sess *find_words(struct mgr *m, const char *name, char why[static MGR_WHY_MAX])
{
    struct sess *found = NULL;
    struct bal_seat seat;
    bool portal, index;
    unsigned nr = 0;

    if (!words_take(name, &seat, &portal, &index)) {
        snprintf(why, MGR_WHY_MAX, "'%.300s': a session is 's3', or TARGET[@PORTAL][#INDEX]", name);
        return NULL;
    }
    rt_list_for (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->settler || s->state == SESS_ENDING ||
            !sess_matches(s, seat.target, portal ? &seat.portal : NULL) || (index && s->index != seat.index))
            continue;
        found = s;
        nr++;
    }
    if (nr == 1)
        return found;
    if (nr)
        snprintf(why, MGR_WHY_MAX, "'%.300s' are %u sessions: add @PORTAL or #INDEX, or name one like '%s'",
                 name, nr, found->name);
    else
        snprintf(why, MGR_WHY_MAX,
                 "there is no session '%.300s': 'corelane session list' shows those there are", name);
    return NULL;
}

struct sess *layout_find(struct mgr *m, const char *name, char why[static MGR_WHY_MAX])
{
    struct sess *s;
    unsigned id;

    if (!number(*name == 's' ? name + 1 : name, &id))
        return find_words(m, name, why);
    s = sess_find(m, id);
    if (s && s->state != SESS_ENDING)
        return s;
    snprintf(why, MGR_WHY_MAX, "there is no session s%u: 'corelane session list' shows those there are", id);
    return NULL;
}

struct rt *layout_reactor(struct mgr *m, int cpu, char why[static MGR_WHY_MAX])
{
    size_t at = (size_t)snprintf(why, MGR_WHY_MAX, "corelaned has no reactor on core %d; it has some on", cpu);

    for (unsigned i = 0; i < rt_host_count(m->host); i++) {
        struct rt *rt = rt_host_at(m->host, i);

        if (rt_core(rt) == cpu)
            return rt;
        if (at < MGR_WHY_MAX - 100) /* of a large machine the first will do */
            at += (size_t)snprintf(why + at, MGR_WHY_MAX - at, "%s %d", i ? "," : "", rt_core(rt));
    }
    snprintf(why + at, MGR_WHY_MAX - at, " (set when it starts, by --cores)");
    return NULL;
}

/* ---- pins ------------------------------------------------------------------------------------------------ */

struct layout_pin *layout_pin_of(const struct mgr *m, const struct bal_seat *seat)
{
    rt_list_for (l, &m->layout->pins) {
        struct layout_pin *p = rt_list_entry(l, struct layout_pin, link);

        if (p->seat.index == seat->index && p->seat.portal.port == seat->portal.port &&
            !strcmp(p->seat.portal.host, seat->portal.host) && !strcmp(p->seat.target, seat->target))
            return p;
    }
    return NULL;
}

int layout_pin(struct mgr *m, const struct bal_seat *seat)
{
    struct layout_pin *p = layout_pin_of(m, seat);

    if (!p) {
        if (m->layout->pins_nr == BAL_LAYOUT_SEATS_MAX || !(p = calloc(1, sizeof(*p))))
            return -ENOMEM;
        rt_list_push(&m->layout->pins, &p->link);
        m->layout->pins_nr++;
    }
    p->seat = *seat;
    p->seat.pinned = true;
    return 0;
}

void layout_unpin(struct mgr *m, struct layout_pin *p)
{
    rt_list_del(&p->link);
    m->layout->pins_nr--;
    free(p);
}

/* ---- keeping --------------------------------------------------------------------------------------------- */

static void conf_path(const struct mgr *m, char *out, size_t len)
{
    snprintf(out, len, "%s/layout.conf", m->run_dir);
}

static char *conf_text(const struct layout *l)
{
    struct bal_layout out = { .has_policy = true,
                              .has_rebalance = true,
                              .policy = l->policy,
                              .rebalance = l->rebalance,
                              .budget = l->budget };
    char *text;

    if (l->pins_nr && !(out.seats = calloc(l->pins_nr, sizeof(*out.seats))))
        return NULL;
    rt_list_for (k, &l->pins) {
        assert(out.seats);
        out.seats[out.seats_nr++] = rt_list_entry(k, struct layout_pin, link)->seat;
    }
    text = bal_layout_text(&out);
    bal_layout_free(&out);
    return text;
}

static void save_run(struct rt_work *w)
{
    struct layout *l = container_of(w, struct layout, save_work);
    char path[512];
    int err;

    conf_path(l->mgr, path, sizeof(path));
    err = l->save_text ? rt_save(path, l->save_text, strlen(l->save_text), 0600) : -ENOMEM;
    if (err && !l->save_told)
        rt_log(RT_WARN, "%s: %s: pins and policy will not outlive this daemon", path, strerror(-err));
    l->save_told = err;
}

static void stop_over(struct journal_wait *w)
{
    struct layout *l = container_of(w, struct layout, stop_wait);
    void (*const stopped)(struct mgr *) = l->stopped;

    l->stopped = NULL;
    stopped(l->mgr);
}

static void save_done(struct rt_work *w)
{
    struct layout *l = container_of(w, struct layout, save_work);

    free(l->save_text);
    l->save_text = NULL;
    l->saving = false;
    if (l->save_again)
        layout_save(l->mgr);
    else if (l->stopped)
        journal_flush(l->journal, &l->stop_wait);
}

void layout_save(struct mgr *m)
{
    struct layout *l = m->layout;

    l->save_again = l->saving;
    if (l->saving)
        return;
    l->saving = true;
    l->save_text = conf_text(l);
    l->save_work.run = save_run;
    l->save_work.done = save_done;
    rt_work(m->rt, &l->save_work);
}

static void conf_load(struct mgr *m)
{
    struct layout *l = m->layout;
    struct bal_layout in;
    char path[512], why[BAL_TEXT_MAX], *text;
    size_t len;
    int err;

    conf_path(m, path, sizeof(path));
    if ((err = rt_load(path, CONF_LEN_MAX, &text, &len))) {
        if (err != -ENOENT)
            rt_log(RT_ERR, "%s: %s: pins of before are not known", path, strerror(-err));
        return;
    }
    err = bal_layout_parse(&in, text, len, path, why);
    free(text);
    if (err) {
        rt_log(RT_ERR, "%s: pins and policy of before are not known", why);
        return;
    }
    if (in.has_policy)
        l->policy = in.policy;
    if (in.has_rebalance)
        l->rebalance = in.rebalance;
    if (in.budget)
        l->budget = in.budget;
    for (unsigned i = 0; i < in.seats_nr; i++)
        if (in.seats[i].pinned && layout_pin(m, &in.seats[i]))
            rt_log(RT_ERR, "%s: no memory for a pin of %s", path, in.seats[i].target);
    bal_layout_free(&in);
}

static bool several_nodes(const struct bal_topo *topo)
{
    const struct bal_pu *pu;
    const unsigned nr = topo ? bal_topo_pus(topo, &pu) : 0;

    for (unsigned i = 1; i < nr; i++)
        if (pu[i].node != pu[0].node)
            return true;
    return false;
}

int layout_new(struct mgr *m)
{
    struct layout *l = calloc(1, sizeof(*l));
    int err;

    if (!l)
        return -ENOMEM;
    m->layout = l;
    l->mgr = m;
    l->policy = BAL_FREE_CORE;
    l->rebalance = BAL_AUTO_ADVISE;
    l->budget = LAYOUT_BUDGET;
    l->nodes = several_nodes(m->topo);
    l->stop_wait.fn = stop_over;
    rt_list_init(&l->pins);
    if ((err = journal_new(&l->journal, m->rt, m->run_dir, 0)) || (err = rebalance_new(m)))
        return err;
    rt_save_sweep(m->run_dir, "layout.conf");
    conf_load(m);
    return 0;
}

void layout_stop(struct mgr *m, void (*done)(struct mgr *m))
{
    struct layout *l = m->layout;

    rebalance_stop(l->auto_moves);
    l->stopped = done;
    if (!l->saving)
        journal_flush(l->journal, &l->stop_wait);
}

void layout_free(struct mgr *m)
{
    struct layout *l = m->layout;
    struct rt_link *k;

    if (!l)
        return;
    while ((k = rt_list_pop(&l->pins)))
        free(rt_list_entry(k, struct layout_pin, link));
    rebalance_free(l->auto_moves);
    journal_free(l->journal);
    free(l->save_text);
    free(l);
    m->layout = NULL;
}

/* ---- the journal's entries ------------------------------------------------------------------------------- */

void layout_told(const struct sess *s, const char *event, const char *by, int from, int to, uint64_t pause_ns,
                 const char *why, json_t *cores)
{
    const struct layout *l = s->mgr->layout;
    json_t *e = json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:i, s:s}", "session", s->name, "target",
                          s->wish.iqn, "portal", s->portal, "index", (int)s->index, "event", event, "by", by,
                          "policy", bal_policy_names[l->policy], "core", to, "why", why);

    if (from != to)
        json_object_set_new(e, "from", json_integer(from));
    if (pause_ns != UINT64_MAX)
        json_object_set_new(e, "pause_us", json_integer((json_int_t)(pause_ns / RT_US)));
    if (cores)
        json_object_set_new(e, "cores", cores);
    journal_add(l->journal, e);
}

static json_t *verdicts_json(const struct bal_core *cores, const struct bal_verdict *v, unsigned nr, int chosen)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < nr; i++) {
        json_t *o = json_pack("{s:i, s:b, s:I, s:i, s:i, s:s}", "core", cores[i].cpu, "possible",
                              (int)v[i].possible, "score", (json_int_t)v[i].score, "sessions",
                              (int)cores[i].sessions, "busy", (int)cores[i].busy_pct, "why", v[i].why);

        if ((int)i == chosen)
            json_object_set_new(o, "chosen", json_true());
        json_array_append_new(list, o);
    }
    return list;
}

/* ---- placing --------------------------------------------------------------------------------------------- */

static bool sess_counts(const struct sess *s)
{
    return s->rt && s->state != SESS_ENDING;
}

void layout_cores(const struct mgr *m, const struct sess *but, struct bal_core *cores)
{
    for (unsigned i = 0; i < rt_host_count(m->host); i++)
        cores[i] = bal_load_core(m->load, i);
    rt_list_for (l, &m->sessions) {
        const struct sess *s = rt_list_entry(l, struct sess, link);

        if (sess_counts(s))
            cores[rt_index(s->rt)].sessions++;
    }
    if (but && sess_counts(but))
        cores[rt_index(but->rt)].sessions--;
}

static struct bal_ask ask_of(const struct sess *s)
{
    const struct layout_pin *p;
    struct bal_seat seat;

    layout_seat(s, &seat);
    p = s->settler ? NULL : layout_pin_of(s->mgr, &seat);
    return (struct bal_ask){
        .policy = s->mgr->layout->policy,
        .node = s->node,
        .pin = p ? p->seat.cpu : -1,
        .what = *s->nic ? s->nic : NULL,
    };
}

json_t *layout_verdicts(const struct sess *s, int chosen)
{
    const unsigned nr = rt_host_count(s->mgr->host);
    struct bal_core *cores = calloc(nr, sizeof(*cores));
    struct bal_verdict *v = calloc(nr, sizeof(*v));
    const struct bal_ask ask = ask_of(s);
    char why[BAL_TEXT_MAX];
    json_t *list = NULL;

    if (cores && v) {
        layout_cores(s->mgr, s, cores);
        bal_place(s->mgr->topo, cores, nr, &ask, v, why);
        list = verdicts_json(cores, v, nr, chosen);
    }
    free(cores);
    free(v);
    return list;
}

/* No core is what was asked for (its pin has no reactor any more, or the policy is 'pinned'): it has to live somewhere. */
static int place_anyway(const struct sess *s, const struct bal_core *cores, unsigned nr, struct bal_ask *ask,
                        struct bal_verdict *v, char why[static BAL_TEXT_MAX])
{
    char first[BAL_TEXT_MAX];
    int at;

    snprintf(first, sizeof(first), "%s", why);
    ask->policy = BAL_FREE_CORE;
    ask->pin = -1;
    at = bal_place(s->mgr->topo, cores, nr, ask, v, why);
    rt_log(RT_WARN, "%s: session %s: %s; placed as by free-core", s->wish.iqn, s->name, first);
    if (at < 0) /* every core was taken from the cpuset */
        snprintf(why, BAL_TEXT_MAX, "%.200s", first);
    return at < 0 ? 0 : at;
}

void layout_place(struct sess *s)
{
    struct mgr *m = s->mgr;
    const unsigned nr = rt_host_count(m->host);
    struct bal_verdict *v = calloc(nr, sizeof(*v));
    struct bal_core cores[RT_CORES_MAX] = { 0 };
    struct bal_ask ask = ask_of(s);
    const bool pinned = ask.pin >= 0;
    int at;

    layout_cores(m, NULL, cores);
    if ((at = bal_place(m->topo, cores, nr, &ask, v, s->why_core)) < 0)
        at = place_anyway(s, cores, nr, &ask, v, s->why_core);
    s->rt = rt_host_at(m->host, (unsigned)at);
    s->core = cores[at].cpu;
    if (!s->settler)
        layout_told(s, "placed", pinned ? "pin" : "login", s->core, s->core, UINT64_MAX, s->why_core,
                    v ? verdicts_json(cores, v, nr, at) : NULL);
    free(v);
}
