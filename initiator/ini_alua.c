/*
 * ini_alua.c - asymmetric access: how a unit can be reached through the port that the session is on
 *
 * Owns what is known of it: read as part of each look at the unit, anew when an answer says that it may have changed, and,
 * where other paths are at hand, every few seconds, as a path that is not used hears of nothing. What cannot be read leaves
 * what was known. And asks for it to change. Who gets which requests is decided above.
 *
 * Source: SPC-4 r36, "Asymmetric logical unit access".
 */
#include <stdlib.h>
#include "initiator/ini_internal.h"

#define POLL_NS          (5 * RT_S)
#define POLL_CHANGING_NS RT_S

struct ini_asym {
    struct ini_lun *lun; /* NULL: closed. Then this goes when its commands are back */
    struct ini_cmd get, set;
    bool getting, setting;  /* under way */
    bool again;             /* what is being read may be old */
    bool reading_after_set; /* who waits for set is told when the state has been read */
    int set_err;
    void (*done)(void *user, int err);
    void *user;
    uint8_t param[8];
    uint8_t buf[INI_PROBE_LEN];
};

/* ---- what is known -------------------------------------------------------------------------------------- */

/* Tells the user, who may close the unit. */
static void state_set(struct ini_lun *l, const struct ini_alua *now)
{
    const struct ini_alua was = l->alua;

    l->alua = *now;
    l->alua_due_ns = rt_now(l->rt) + (now->state == INI_ALUA_TRANSITIONING ? POLL_CHANGING_NS : POLL_NS);
    if (l->open && l->event &&
        (was.state != now->state || was.preferred != now->preferred || was.group != now->group ||
         was.port != now->port || was.is_implicit != now->is_implicit || was.is_explicit != now->is_explicit))
        l->event(l->user, INI_LUN_ALUA);
}

unsigned ini_alua_build(uint8_t cdb[static 16])
{
    return scsi_cdb_report_groups(cdb, INI_PROBE_LEN);
}

int ini_alua_take(struct ini_lun *l, int err, size_t len)
{
    l->got.has_access = !err && !scsi_groups_parse(&l->got.access, &l->got.port, l->buf, len);
    return 0;
}

void ini_alua_probed(struct ini_lun *l)
{
    const struct ini_probe *p = &l->got;
    struct ini_alua now = { .state = INI_ALUA_OPTIMIZED };

    if (p->inquiry.tpgs_implicit || p->inquiry.tpgs_explicit) {
        now = l->alua;
        now.is_implicit = p->inquiry.tpgs_implicit;
        now.is_explicit = p->inquiry.tpgs_explicit;
        if (!l->asym && (l->asym = calloc(1, sizeof(*l->asym))))
            l->asym->lun = l; /* without memory what this look has read has to do */
    }
    if (p->port.has_port)
        now.port = p->port.port;
    if (p->port.has_group)
        now.group = p->port.group;
    if (p->has_access) {
        now.state = p->access.state;
        now.preferred = p->access.preferred;
        now.group = p->access.group;
        l->grouped = true;
    } else if (p->inquiry.qualifier) {
        now.state = INI_ALUA_UNAVAILABLE;
    }
    l->port = p->port;
    state_set(l, &now);
}

void ini_alua_away(struct ini_lun *l)
{
    struct ini_alua now = l->alua;

    now.state = INI_ALUA_UNAVAILABLE;
    state_set(l, &now);
}

bool ini_alua_concerns(const struct scsi_sense *e)
{
    if (e->key == SCSI_UNIT_ATTENTION) /* the state changed; an implicit transition failed */
        return e->asc == 0x2a && (e->ascq == 0x06 || e->ascq == 0x07);
    return (e->key == SCSI_NOT_READY && e->asc == 0x04 && e->ascq == 0x0a) || ini_alua_out_of_reach(e);
}

bool ini_alua_out_of_reach(const struct scsi_sense *e)
{
    return e->key == SCSI_NOT_READY && e->asc == 0x04 &&
           (e->ascq == 0x0b || e->ascq == 0x0c || e->ascq == 0x12); /* standby, unavailable, offline */
}

/* ---- reading it ----------------------------------------------------------------------------------------- */

static bool can_ask(const struct ini_lun *l)
{
    return l->sess->state == INI_UP && !l->sess->stopping && l->open && !l->err;
}

static void asym_put(struct ini_asym *a)
{
    if (!a->lun && !a->getting && !a->setting)
        free(a);
}

static void set_tell(struct ini_asym *a)
{
    void (*done)(void *user, int err) = a->done;

    a->reading_after_set = false;
    a->done = NULL;
    done(a->user, a->set_err);
}

static void cmd_fill(struct ini_asym *a, struct ini_cmd *c, unsigned cdb_len)
{
    c->task.lun = a->lun->lun;
    c->task.probe = c->task.once = true;
    c->task.cdb_len = (uint8_t)cdb_len;
}

static void get_done(struct ini_cmd *c);

static void get_start(struct ini_asym *a)
{
    struct ini_cmd *c = &a->get;

    *c = (struct ini_cmd){ .buf = a->buf, .buf_len = sizeof(a->buf), .done = get_done };
    cmd_fill(a, c, ini_alua_build(c->task.cdb));
    a->getting = true;
    a->again = false;
    ini_cmd_start(a->lun->sess, c);
}

static void get_done(struct ini_cmd *c)
{
    struct ini_asym *a = container_of(c, struct ini_asym, get);
    struct ini_lun *l = a->lun;
    struct scsi_group g;
    struct ini_alua now;

    if (l && !(a->again && can_ask(l))) {
        now = l->alua;
        if (ini_cmd_result(c) || scsi_groups_parse(&g, &l->port, a->buf, c->task.in_len)) {
            /* then it is what it was */
        } else if (l->away) {
            if (g.state != now.state) /* it can be asked who it is */
                ini_lun_recheck(l);
        } else {
            now.state = g.state;
            now.preferred = g.preferred;
            now.group = g.group;
            l->grouped = true;
        }
        state_set(l, &now);
    }
    a->getting = false;
    if (!a->lun)
        asym_put(a);
    else if (a->again && can_ask(a->lun))
        get_start(a);
    else if (a->reading_after_set)
        set_tell(a);
}

void ini_alua_stale(struct ini_lun *l)
{
    struct ini_asym *a = l->asym;

    if (!a || !can_ask(l))
        return; /* the next look at the unit reads it */
    if (a->getting)
        a->again = true;
    else
        get_start(a);
}

bool ini_alua_tick(struct ini_sess *s, uint64_t now)
{
    bool any = false;

    rt_list_for (at, &s->luns) {
        struct ini_lun *l = rt_list_entry(at, struct ini_lun, link);

        if (!l->asym || !l->hand || l->err)
            continue;
        any = true;
        if (now >= l->alua_due_ns && !l->asym->getting)
            ini_alua_stale(l);
    }
    return any;
}

/* ---- changing it ---------------------------------------------------------------------------------------- */

static void set_done(struct ini_cmd *c)
{
    struct ini_asym *a = container_of(c, struct ini_asym, set);

    a->setting = false;
    if (!a->lun) {
        asym_put(a);
        return;
    }
    a->set_err = ini_cmd_result(c);
    a->reading_after_set = true;
    ini_alua_stale(a->lun);
    if (!a->getting)
        set_tell(a);
}

void ini_lun_activate(struct ini_lun *l, void (*done)(void *user, int err), void *user)
{
    struct ini_asym *a = l->asym;
    struct ini_cmd *c;

    rt_assert_here(l->rt);
    assert(l->open);
    if (!can_ask(l)) {
        done(user, -ENOTCONN);
        return;
    }
    if (!a || !l->alua.is_explicit || !l->grouped) {
        done(user, -EOPNOTSUPP);
        return;
    }
    if (a->done) {
        done(user, -EBUSY);
        return;
    }
    a->done = done;
    a->user = user;
    a->setting = true;
    c = &a->set;
    *c = (struct ini_cmd){ .buf = a->param, .buf_len = sizeof(a->param), .out = true, .done = set_done };
    scsi_set_groups_param(a->param, l->alua.group, INI_ALUA_OPTIMIZED);
    cmd_fill(a, c, scsi_cdb_set_groups(c->task.cdb, sizeof(a->param)));
    ini_cmd_start(l->sess, c);
}

const struct ini_alua *ini_lun_alua(const struct ini_lun *l)
{
    return &l->alua;
}

void ini_alua_exit(struct ini_lun *l)
{
    struct ini_asym *a = l->asym;

    if (!a)
        return;
    l->asym = NULL;
    a->lun = NULL;
    if (ini_cmd_cancel(&a->get))
        a->getting = false;
    if (ini_cmd_cancel(&a->set))
        a->setting = false;
    asym_put(a);
}
