/*
 * ini_discover.c - SendTargets: which targets a portal has, and where (RFC 7143 appendix C)
 *
 * A discovery session logs in, asks once, reads an answer of any number of PDUs pair by pair as they come, and
 * logs out. However much a portal answers, what is kept is bounded, and so is the time that it takes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "initiator/ini_internal.h"
#include "reactor/rt_log.h"

#define PAIR_MAX 600u                       /* bytes of one key=value: a name or an address fits twice */
#define ANSWER_MAX (32u * 1024 * 1024)      /* bytes in all */
#define ANSWER_TIME 8u                      /* times login_timeout, for all of it */
#define FOUND_FIRST 16u

struct discover {
    struct ini_discovery *d;
    struct rt *rt;
    struct ini_sess *sess;
    struct rt_timer timer;                  /* for each answer */
    uint64_t end_ns;                        /* for all of them: one could send a byte at a time */
    uint32_t total;
    uint32_t pair_len;
    char pair[PAIR_MAX];
    char target[ISCSI_NAME_LEN_MAX +
                1]; /* the one that addresses belong to; empty: none, or one with a bad name */
    bool addressed;
    size_t room;
    bool over;
};

void ini_text_response(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data)
{
    if (ini_ctl_answered(s, INI_TAG_TEXT, pdu->itt) && s->text_done)
        s->text_done(s, pdu, data, 0);
}

static void discover_stopped(void *user)
{
    struct discover *x = user;
    struct ini_discovery *d = x->d;

    ini_sess_free(x->sess);
    free(x);
    d->done(d);
}

static void discover_end(struct discover *x, int err, const char *why)
{
    if (x->over)
        return;
    x->over = true;
    rt_timer_disarm(x->rt, &x->timer);
    x->d->err = err;
    snprintf(x->d->why, sizeof(x->d->why), "%s", why);
    if (err) {
        free(x->d->found);
        x->d->found = NULL;
        x->d->found_nr = 0;
    }
    ini_sess_stop(x->sess, false, discover_stopped, x);
}

static int found_add(struct discover *x, const struct iscsi_portal *portal)
{
    struct ini_discovery *d = x->d;
    struct ini_found *more;

    if (d->found_nr == INI_DISCOVER_MAX) {
        d->cut = true;
        return 0;
    }
    if (d->found_nr == x->room) {
        const size_t room = x->room ? 2 * x->room : FOUND_FIRST;

        more = realloc(d->found, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        d->found = more;
        x->room = room;
    }
    memcpy(d->found[d->found_nr].target, x->target, sizeof(x->target));
    d->found[d->found_nr++].portal = *portal;
    return 0;
}

/* A target without an address is at the portal that was asked. */
static int target_over(struct discover *x)
{
    if (!x->target[0] || x->addressed)
        return 0;
    return found_add(x, &x->sess->portal);
}

/* More names are in use than RFC 3722 allows; what matters is that one cannot be taken for something else
 * where it becomes a word, a line or a path. */
static bool name_usable(const char *name)
{
    const size_t n = strlen(name);

    for (size_t i = 0; i < n; i++)
        if ((uint8_t)name[i] <= ' ' || name[i] == 0x7f || name[i] == '/' || name[i] == '\\')
            return false;
    return n && n <= ISCSI_NAME_LEN_MAX && name[0] != '.' && name[0] != '-';
}

static int pair_take(struct discover *x, char *pair)
{
    struct iscsi_portal portal;
    char *value = strchr(pair, '=');

    if (!value)
        return -EPROTO;
    *value++ = '\0';
    if (!strcmp(pair, "TargetName")) {
        const int err = target_over(x);

        x->addressed = false;
        x->target[0] = '\0';
        if (name_usable(value))
            snprintf(x->target, sizeof(x->target), "%s", value);
        return err;
    }
    if (strcmp(pair, "TargetAddress") || !x->target[0])
        return 0;
    x->addressed = true;
    if (iscsi_portal_parse(&portal, value))
        return 0;                           /* one address that cannot be used; others may follow */
    return found_add(x, &portal);
}

static int text_take(struct discover *x, const uint8_t *data, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        int err;

        if (x->pair_len == sizeof(x->pair))
            return -EPROTO;
        x->pair[x->pair_len++] = (char)data[i];
        if (data[i])
            continue;
        x->pair_len = 0;
        err = x->pair[0] ? pair_take(x, x->pair) : 0;       /* some targets pad with NULs */
        if (err)
            return err;
    }
    return 0;
}

static void ask(struct discover *x, uint32_t itt, uint32_t ttt)
{
    static const char all[] = "SendTargets=All";
    const bool first = ttt == ISCSI_TAG_RESERVED;
    const struct iscsi_pdu pdu = {
        .opcode = ISCSI_OP_TEXT,
        .final = true,
        .itt = itt,
        .ttt = ttt,
        .data_len = first ? sizeof(all) : 0,
    };

    if (first)
        x->end_ns = rt_now(x->rt) + ANSWER_TIME * (uint64_t)x->d->conf.set.login_timeout_s * RT_S;
    rt_timer_arm(x->rt, &x->timer, (uint64_t)x->d->conf.set.login_timeout_s * RT_S);
    ini_ctl_send(x->sess, INI_TAG_TEXT, &pdu, first ? all : NULL);
}

static void answered(struct ini_sess *s, const struct iscsi_pdu *pdu, const uint8_t *data, int err)
{
    struct discover *x = s->text_user;

    if (x->over)
        return;
    if (err) {
        discover_end(x, err, "the portal rejects SendTargets");
        return;
    }
    x->total += pdu->data_len;
    if (x->total > ANSWER_MAX)
        err = -EPROTO;
    if (!err)
        err = text_take(x, data, pdu->data_len);
    if (err) {
        discover_end(x, err,
                     err == -ENOMEM ? "no memory for the list" : "the portal's list of targets cannot be read");
        return;
    }
    if (!pdu->final || pdu->text.cont) {
        if (pdu->ttt == ISCSI_TAG_RESERVED || (!pdu->data_len && !x->total) || rt_now(x->rt) >= x->end_ns)
            discover_end(x, -EPROTO, "the portal's list of targets has no end");
        else
            ask(x, pdu->itt, pdu->ttt);
        return;
    }
    err = x->pair_len ? -EPROTO : target_over(x);
    discover_end(x, err, err ? "the portal's list of targets ends in the middle" : "");
}

static void discover_up(void *user)
{
    struct discover *x = user;

    ask(x, 0, ISCSI_TAG_RESERVED);
}

static void discover_failed(void *user, int err, const char *why)
{
    discover_end(user, err ? err : -ECONNRESET, why);
}

static void discover_late(struct rt_timer *t)
{
    discover_end(container_of(t, struct discover, timer), -ETIMEDOUT, "the portal does not answer SendTargets");
}

void ini_discover(struct rt *rt, struct ini_discovery *d)
{
    static const struct ini_sess_events events = { .up = discover_up, .failed = discover_failed };
    struct discover *x = calloc(1, sizeof(*x));

    d->err = 0;
    d->why[0] = '\0';
    d->found = NULL;
    d->found_nr = 0;
    d->cut = false;
    d->conf.target[0] = '\0';
    d->conf.set.replacement_timeout_s = 0;  /* once up it is a matter of one answer */
    d->conf.set.noop_interval_s = 0;
    d->conf.set.cmds_max = 2;
    if (!x || ini_sess_new(&x->sess, rt, &d->conf, &events, x)) {
        free(x);
        d->err = -ENOMEM;
        snprintf(d->why, sizeof(d->why), "no memory for a discovery session");
        d->done(d);
        return;
    }
    x->d = d;
    x->rt = rt;
    x->timer.fn = discover_late;
    x->sess->text_done = answered;
    x->sess->text_user = x;
    d->priv = x;
    ini_sess_start(x->sess);
}
