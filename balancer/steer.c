/*
 * steer.c - from the kernel's sessions to cores, and from cores to settings
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/nic.h"
#include "balancer/steer.h"

#define NOTES_MAX 64u
#define CARDS_MAX 64u

struct card { /* a network card that brings in packets of steered sessions */
    char name[BAL_IFNAME_MAX];
    struct bal_mask cpus; /* of the sessions whose packets no filter takes */
};
struct work {
    const struct bal_steer_conf *conf;
    struct bal_steer *p;
    struct bal_core *core; /* counts of sessions grow as they are seated */
    struct card card[CARDS_MAX];
    unsigned cards;
    char **used; /* settings of cards that serve a session, changed or not */
    unsigned useds;
    bool no_memory;
};

void bal_steer_free(struct bal_steer *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->changes; i++)
        free(p->change[i].value);
    free(p->change);
    free(p->seat);
    free(p->note);
    free(p);
}

static void note(struct work *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct work *w, const char *fmt, ...)
{
    va_list ap;

    if (w->p->notes == NOTES_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(w->p->note[w->p->notes++], BAL_TEXT_MAX, fmt, ap);
    va_end(ap);
}

static bool wanted(const struct work *w, enum bal_knob kind)
{
    return w->conf->kinds >> kind & 1;
}

/* The setting is to have that value; nothing to do if it has. @why: printf's. */
static void change(struct work *w, const char *name, const char *value, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void change(struct work *w, const char *name, const char *value, const char *fmt, ...)
{
    struct bal_steer_change *more, *c;
    char now[BAL_SYS_TEXT_MAX];
    uint64_t id;
    const int kind = bal_knob_of(name), err = kind < 0 ? kind : bal_knob_read(w->conf->knobs, name, now, &id);
    va_list ap;
    int state;

    if (err) {
        note(w, "/%.120s cannot be read: %s", name, strerror(-err));
        return;
    }
    if (bal_knob_same((enum bal_knob)kind, now, value))
        return;
    state = w->conf->log ? bal_log_look(w->conf->log, name) : -ENOENT;
    if (state == BAL_LOG_DRIFT || (state == BAL_LOG_BACK && w->conf->watching)) {
        note(w, "/%.120s: somebody else has set it to '%.60s' since: left alone", name, now);
        return;
    }
    if (!(more = realloc(w->p->change, (w->p->changes + 1) * sizeof(*more)))) {
        w->no_memory = true;
        return;
    }
    w->p->change = more;
    c = &more[w->p->changes];
    *c = (struct bal_steer_change){ 0 };
    snprintf(c->name, sizeof(c->name), "%s", name);
    if (!(c->value = strdup(value))) {
        w->no_memory = true;
        return;
    }
    va_start(ap, fmt);
    vsnprintf(c->why, sizeof(c->why), fmt, ap);
    va_end(ap);
    w->p->changes++;
}

/* A setting of a card, which others may need as well, serves a session. */
static void use(struct work *w, const char *name)
{
    char **more = realloc(w->used, (w->useds + 1) * sizeof(*more));

    if (more)
        w->used = more;
    if (more && (w->used[w->useds] = strdup(name)))
        w->useds++;
    else
        w->no_memory = true;
}

/* ---- which core ------------------------------------------------------------------------------------------ */

static void core_count(struct work *w, int cpu)
{
    for (unsigned i = 0; i < w->conf->cores; i++)
        w->core[i].sessions += w->core[i].cpu == cpu;
}

static void nic_find(const struct work *w, struct bal_steer_seat *s)
{
    const char *addr = *s->sess.addr ? s->sess.addr : s->sess.portal;
    unsigned queues;

    s->node = BAL_NODE_ANY;
    if (*s->sess.netdev) {
        snprintf(s->nic, sizeof(s->nic), "%s", s->sess.netdev);
        s->node = bal_nic_node(w->conf->knobs->sys, s->nic);
    } else if (w->conf->nic_of && *addr && w->conf->nic_of(addr, s->nic, &s->node, &queues)) {
        *s->nic = '\0';
        s->node = BAL_NODE_ANY;
    }
}

/* Whether a session can be steered at all, and is not yet: else why not. */
static bool seat_open(struct work *w, struct bal_steer_seat *s)
{
    const struct bal_kern_sess *k = &s->sess;

    s->cpu = -1;
    if (!bal_kern_settled(k)) {
        s->pending = true;
        w->p->pending++;
        snprintf(s->why, sizeof(s->why), "not logged in yet (%s)", *k->state ? k->state : "no state");
    } else if (strcmp(k->transport, "iscsi_tcp")) {
        snprintf(s->why, sizeof(s->why), "transport %s: its work is done elsewhere than in a work queue",
                 *k->transport ? k->transport : "not known");
    } else if (!k->has_wq) {
        snprintf(s->why, sizeof(s->why), "no work queue iscsi_q_%u with a cpumask: this kernel cannot be told",
                 k->host);
    } else {
        return true;
    }
    return false;
}

static bool seat_taken(const struct work *w, struct bal_steer_seat *s)
{
    char path[BAL_SYS_PATH_MAX];

    if (bal_mask_count(&s->sess.wq) != 1)
        return false;
    s->cpu = bal_mask_next(&s->sess.wq, 0);
    s->kept = true;
    bal_kern_wq_path(s->sess.host, path);
    snprintf(s->why, sizeof(s->why), "%s",
             w->conf->log && bal_log_look(w->conf->log, path) == BAL_LOG_HOLDS
                 ? "there since it was steered"
                 : "there already, and not by us");
    return true;
}

static void seat_choose(struct work *w, struct bal_steer_seat *s)
{
    const unsigned nr = w->conf->cores;
    struct bal_core *some = calloc(nr ? nr : 1, sizeof(*some));
    const struct bal_ask ask = { w->conf->policy, s->node, -1, *s->nic ? s->nic : NULL };
    unsigned n = 0;
    int at;

    if (!some) {
        w->no_memory = true;
        return;
    }
    for (unsigned i = 0; i < nr; i++)
        if (bal_mask_has(&s->sess.wq, w->core[i].cpu))
            some[n++] = w->core[i];
    if (!n) {
        char list[64];

        bal_mask_format_list(&s->sess.wq, list, sizeof(list));
        snprintf(s->why, sizeof(s->why), "its work queue may use CPUs %s, and none of them is to be used",
                 list);
    } else if ((at = bal_place(w->conf->topo, some, n, &ask, NULL, s->why)) >= 0) {
        s->cpu = some[at].cpu;
        core_count(w, s->cpu);
    }
    free(some);
}

/* Those that sit already are counted before the first of the others is seated. */
static void seats_fill(struct work *w)
{
    for (unsigned i = 0; i < w->p->seats; i++) {
        struct bal_steer_seat *s = &w->p->seat[i];

        nic_find(w, s);
        if (seat_open(w, s) && seat_taken(w, s))
            core_count(w, s->cpu);
    }
    for (unsigned i = 0; i < w->p->seats; i++) {
        struct bal_steer_seat *s = &w->p->seat[i];

        if (s->cpu < 0 && !*s->why)
            seat_choose(w, s);
    }
}

/* ---- which settings -------------------------------------------------------------------------------------- */

static void wq_change(struct work *w, const struct bal_steer_seat *s)
{
    char path[BAL_SYS_PATH_MAX], text[BAL_MASK_TEXT_MAX];
    struct bal_mask m = { 0 };

    if (s->kept || !wanted(w, BAL_KNOB_WQ))
        return;
    bal_kern_wq_path(s->sess.host, path);
    bal_mask_set(&m, s->cpu);
    bal_mask_format(&m, text);
    change(w, path, text, "session %u on core %d", s->sess.sid, s->cpu);
}

static void recv_change(struct work *w)
{
    char now[BAL_SYS_TEXT_MAX];
    uint64_t id;
    const int err = bal_knob_read(w->conf->knobs, BAL_KNOB_RECV_PATH, now, &id);

    if (!wanted(w, BAL_KNOB_RECV))
        return;
    if (err == -ENOENT)
        note(w, "iscsi_tcp has no recv_from_iscsi_q (Linux 6.0 has): receiving stays in the network card's "
                "softirq");
    else
        change(w, BAL_KNOB_RECV_PATH, "Y",
               "receive in the work queue too: all iscsi_tcp sessions made from now on");
}

static struct card *card_of(struct work *w, const char name[static BAL_IFNAME_MAX])
{
    for (unsigned i = 0; i < w->cards; i++)
        if (!strcmp(w->card[i].name, name))
            return &w->card[i];
    if (w->cards == CARDS_MAX)
        return NULL;
    memcpy(w->card[w->cards].name, name, BAL_IFNAME_MAX);
    return &w->card[w->cards++];
}

/* Two sessions that no filter could tell apart are left to packet steering. */
static bool flow_alone(const struct work *w, const struct bal_steer_seat *s)
{
    for (unsigned i = 0; i < w->p->seats && !s->sess.local_port; i++) {
        const struct bal_kern_sess *k = &w->p->seat[i].sess;

        if (k->sid != s->sess.sid && k->port == s->sess.port && !strcmp(k->addr, s->sess.addr))
            return false;
    }
    return *s->sess.addr && s->sess.port;
}

/* Return: a filter takes the session's packets, or will. */
static bool flow_change(struct work *w, const struct bal_steer_seat *s, const char *card)
{
    const struct bal_knobs *k = w->conf->knobs;
    char why[128], name[BAL_FLOW_NAME_MAX], value[16];
    unsigned queues = 0;
    int queue;

    if (!wanted(w, BAL_KNOB_FLOW) || k->flow->able(k->flow_user, card, &queues, why) || !flow_alone(w, s) ||
        (queue = bal_nic_queue_of(k->sys, card, s->cpu)) < 0 || (unsigned)queue >= queues ||
        bal_flow_name(name, card, s->sess.addr, (uint16_t)s->sess.port,
                      s->sess.local_port ? s->sess.local : NULL, (uint16_t)s->sess.local_port))
        return false;
    snprintf(value, sizeof(value), "%d", queue);
    use(w, name);
    change(w, name, value, "session %u: to queue %d, which core %d serves", s->sess.sid, queue, s->cpu);
    return true;
}

static void cards_add(struct work *w, const struct bal_steer_seat *s)
{
    char bases[BAL_NIC_BASES_MAX][BAL_IFNAME_MAX];
    const unsigned nr = bal_nic_bases(w->conf->knobs->sys, s->nic, bases, BAL_NIC_BASES_MAX);

    for (unsigned i = 0; i < nr; i++) {
        struct card *c;

        if (!flow_change(w, s, bases[i]) && (c = card_of(w, bases[i])))
            bal_mask_set(&c->cpus, s->cpu);
    }
}

static void rps_change(struct work *w, const struct card *c)
{
    unsigned queue[BAL_NIC_QUEUES_MAX];
    const unsigned nr = bal_nic_queues(w->conf->knobs->sys, c->name, queue, BAL_NIC_QUEUES_MAX);
    char text[BAL_MASK_TEXT_MAX], list[64];

    bal_mask_format(&c->cpus, text);
    bal_mask_format_list(&c->cpus, list, sizeof(list));
    for (unsigned i = 0; i < nr; i++) {
        char path[BAL_SYS_PATH_MAX], now[BAL_SYS_TEXT_MAX];
        uint64_t id;

        bal_nic_rps_path(c->name, queue[i], path);
        use(w, path);
        if (!bal_knob_read(w->conf->knobs, path, now, &id) && !bal_knob_same(BAL_KNOB_RPS, now, "0") &&
            !bal_knob_same(BAL_KNOB_RPS, now, text) &&
            (!w->conf->log || bal_log_look(w->conf->log, path) == -ENOENT))
            note(w, "/%s is in use (%.60s), and not by us: left alone", path, now);
        else
            change(w, path, text, "all that %s's queue %u receives: to the sessions' cores %s", c->name,
                   queue[i], list);
    }
}

/* A filter for a connection that is no more, steering on a card that no session uses. Not while a session is being set up:
 * that may be the one that needs it. */
static void stale_find(void *user, const struct bal_log_view *v)
{
    struct work *w = user;
    unsigned before = w->p->changes;

    if (v->state != BAL_LOG_HOLDS || (v->kind != BAL_KNOB_FLOW && v->kind != BAL_KNOB_RPS) ||
        !wanted(w, v->kind))
        return;
    for (unsigned i = 0; i < w->useds; i++)
        if (!strcmp(w->used[i], v->name))
            return;
    change(w, v->name, v->old, "no session needs it any more");
    for (; before < w->p->changes; before++)
        w->p->change[before].back = true;
}

static void changes_find(struct work *w)
{
    unsigned steered = 0;

    for (unsigned i = 0; i < w->p->seats; i++) {
        const struct bal_steer_seat *s = &w->p->seat[i];

        if (s->cpu < 0)
            continue;
        steered++;
        wq_change(w, s);
        if (*s->nic)
            cards_add(w, s);
        else if (wanted(w, BAL_KNOB_RPS) || wanted(w, BAL_KNOB_FLOW))
            note(w, "session %u: which network interface it uses is not known: receiving stays as it is",
                 s->sess.sid);
    }
    for (unsigned i = 0; i < w->cards && wanted(w, BAL_KNOB_RPS); i++)
        rps_change(w, &w->card[i]);
    if (steered)
        recv_change(w);
    if (w->conf->log && !w->p->pending)
        bal_log_each(w->conf->log, stale_find, w);
}

int bal_steer_plan(struct bal_steer **out, const struct bal_steer_conf *conf, char why[static 256])
{
    struct work *w = calloc(1, sizeof(*w)); /* too large for a helper thread's stack */
    struct bal_steer *p = calloc(1, sizeof(*p));
    struct bal_kern_sess *all = NULL;
    int nr = -ENOMEM;

    snprintf(why, 256, "%s", strerror(ENOMEM));
    if (w && p && (p->note = calloc(NOTES_MAX, sizeof(*p->note))) &&
        (w->core = calloc(conf->cores ? conf->cores : 1, sizeof(*w->core))))
        nr = bal_kern_scan(conf->knobs->sys, &all, why);
    if (nr > 0 && !(p->seat = calloc((size_t)nr, sizeof(*p->seat))))
        nr = -ENOMEM;
    if (nr >= 0) {
        w->conf = conf;
        w->p = p;
        if (conf->cores)
            memcpy(w->core, conf->core, conf->cores * sizeof(*w->core));
        for (int i = 0; i < nr; i++)
            p->seat[p->seats++].sess = all[i];
        seats_fill(w);
        changes_find(w);
        if (w->no_memory)
            nr = -ENOMEM;
    }
    free(all);
    for (unsigned i = 0; w && i < w->useds; i++)
        free(w->used[i]);
    if (w) {
        free(w->used);
        free(w->core);
    }
    free(w);
    if (nr < 0) {
        bal_steer_free(p);
        return nr;
    }
    *out = p;
    return 0;
}

unsigned bal_steer_apply(const struct bal_steer *p, struct bal_log *log,
                         void (*fn)(void *user, const struct bal_steer_change *c, int result, const char *why),
                         void *user)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < p->changes; i++) {
        const struct bal_steer_change *c = &p->change[i];
        char why[256] = "";
        int rc;

        if (!c->back) {
            rc = bal_log_set(log, c->name, c->value, c->why, why);
        } else if ((rc = bal_log_restore(log, c->name, false, why)) >= 0) {
            snprintf(why, sizeof(why), "/%.150s: cannot be put back", c->name);
            rc = rc == BAL_LOG_BACK ? 1 : rc == BAL_LOG_GONE ? 0 : -EIO;
        }
        failed += rc < 0;
        fn(user, c, rc, why);
    }
    return failed;
}
