/*
 * isid.c - identities of sessions, and what may be left at targets under them; see mgr_internal.h
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"

#define ISIDS_MAX 1024u

struct isid {
    struct rt_link link; /* in mgr->isids: no session has it */
    char iqn[ISCSI_NAME_LEN_MAX + 1];
    uint8_t isid[6];
    struct iscsi_portal portal; /* where it was used; host empty: not known */
    bool owed;
};

/* ---- as text --------------------------------------------------------------------------------------------- */

void isid_format(const uint8_t isid[static 6], char out[static ISID_STR_MAX])
{
    for (unsigned i = 0; i < 6; i++)
        snprintf(out + 2 * i, 3, "%02x", isid[i]);
}

bool isid_parse(const char *text, uint8_t out[static 6])
{
    if (strlen(text) != 12 || strspn(text, "0123456789abcdef") != 12)
        return false;
    for (unsigned i = 0; i < 6; i++) {
        const char pair[3] = { text[2 * i], text[2 * i + 1] };

        out[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return true;
}

static json_t *entry_of(const char *iqn, const uint8_t isid[static 6], const struct iscsi_portal *portal)
{
    char text[ISID_STR_MAX], where[ISCSI_PORTAL_STR_MAX];
    json_t *e;

    isid_format(isid, text);
    e = json_pack("{s:s, s:s}", "iqn", iqn, "isid", text);
    if (*portal->host) {
        iscsi_portal_format(portal, where);
        json_object_set_new(e, "portal", json_string(where));
    }
    return e;
}

json_t *isid_list(const struct mgr *m)
{
    json_t *list = json_array();

    rt_list_for (l, &m->isids) {
        const struct isid *i = rt_list_entry(l, struct isid, link);

        if (i->owed)
            json_array_append_new(list, entry_of(i->iqn, i->isid, &i->portal));
    }
    /* Those of living sessions too: this daemon may die at any time, and those who took them over before they
     * could settle anything. */
    rt_list_for (l, &m->sessions) {
        const struct sess *s = rt_list_entry(l, struct sess, link);

        json_array_append_new(list, entry_of(s->wish.iqn, s->conf.isid, &s->wish.portal));
    }
    return list;
}

const char *isid_entry(const json_t *entry, char iqn[static ISCSI_NAME_LEN_MAX + 1], uint8_t isid[static 6])
{
    const char *name, *text, *wrong;

    if (json_unpack((json_t *)entry, "{s:s, s:s}", "iqn", &name, "isid", &text))
        return "iqn or isid is missing";
    if ((wrong = iscsi_name_refusal(name, iqn)))
        return wrong;
    return isid_parse(text, isid) ? NULL : "isid is not 12 hex digits";
}

void isid_entry_portal(const json_t *entry, struct iscsi_portal *out)
{
    const char *portal = json_string_value(json_object_get(entry, "portal"));

    if (!portal || iscsi_portal_parse(out, portal))
        *out = (struct iscsi_portal){ 0 };
}

/* ---- kept ------------------------------------------------------------------------------------------------ */

static void isid_drop(struct isid *i)
{
    rt_list_del(&i->link);
    free(i);
}

void isids_free(struct mgr *m)
{
    while (!rt_list_empty(&m->isids))
        isid_drop(rt_list_entry(m->isids.next, struct isid, link));
}

/* The oldest, and rather one under which nothing is left. */
static void isids_make_room(struct mgr *m)
{
    struct isid *oldest = NULL;
    unsigned nr = 0;

    rt_list_for (l, &m->isids) {
        struct isid *i = rt_list_entry(l, struct isid, link);

        nr++;
        if (!oldest || (oldest->owed && !i->owed))
            oldest = i;
    }
    if (nr >= ISIDS_MAX)
        isid_drop(oldest);
}

static struct isid *isid_find(struct mgr *m, const uint8_t isid[static 6])
{
    rt_list_for (l, &m->isids) {
        struct isid *i = rt_list_entry(l, struct isid, link);

        if (!memcmp(i->isid, isid, 6))
            return i;
    }
    return NULL;
}

struct isid *isid_record(void)
{
    return calloc(1, sizeof(struct isid));
}

int isid_keep(struct mgr *m, const char *iqn, const uint8_t isid[static 6], const struct iscsi_portal *portal,
              bool owed, struct isid **record)
{
    struct isid *i = isid_find(m, isid);

    if (i) {
        i->owed = owed;
        i->portal = *portal;
        return 0;
    }
    if (!(i = record && *record ? *record : isid_record()))
        return -ENOMEM;
    if (record)
        *record = NULL;
    isids_make_room(m);
    snprintf(i->iqn, sizeof(i->iqn), "%s", iqn);
    memcpy(i->isid, isid, sizeof(i->isid));
    i->portal = *portal;
    i->owed = owed;
    rt_list_push(&m->isids, &i->link);
    return 0;
}

bool isid_lives(const struct mgr *m, const uint8_t isid[static 6])
{
    rt_list_for (l, &m->sessions) {
        const struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->state != SESS_ENDING && !memcmp(s->conf.isid, isid, 6))
            return true;
    }
    return false;
}

void isid_take(struct mgr *m, const uint8_t isid[static 6], uint8_t out[static 6])
{
    struct isid *i = isid_find(m, isid);

    memcpy(out, isid, 6);
    if (i)
        isid_drop(i);
}

/* One that is ending has nothing left that anybody waits for: it may have to wait itself, for a target that is stuck,
 * and who comes now ends it sooner. */
static void endings_keep(struct mgr *m, const char *iqn)
{
    rt_list_for (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->state == SESS_ENDING && !s->settler && !strcmp(s->wish.iqn, iqn) && !isid_lives(m, s->conf.isid))
            (void)isid_keep(m, iqn, s->conf.isid, &s->wish.portal, true, &s->record);
    }
}

/* Whether a session may have it now. */
static bool isid_free(const struct mgr *m, const struct isid *i, const char *iqn)
{
    return !strcmp(i->iqn, iqn) && !isid_lives(m, i->isid) && !att_has_isid(m, i->isid);
}

bool isid_choose(struct mgr *m, const char *iqn, uint8_t out[static 6])
{
    struct isid *best = NULL;

    endings_keep(m, iqn);
    rt_list_for (l, &m->isids) {
        struct isid *i = rt_list_entry(l, struct isid, link);

        if (isid_free(m, i, iqn) && (!best || (i->owed && !best->owed)))
            best = i;
    }
    if (best) {
        memcpy(out, best->isid, sizeof(best->isid));
        isid_drop(best);
        return false;
    }
    rt_random(m->rt, out, 6); /* here and not by the session, so that the books know it */
    out[0] = 0x80;            /* random, RFC 7143 11.12.5 */
    return true;
}

/* ---- settled --------------------------------------------------------------------------------------------- */

static bool settlers(const struct mgr *m, const char *iqn)
{
    rt_list_for (l, &m->sessions) {
        const struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->settler && !strcmp(s->wish.iqn, iqn))
            return true;
    }
    return false;
}

static bool same_portal(const struct sess *s, const struct iscsi_portal *portal)
{
    return s->wish.portal.port == portal->port && !strcmp(s->wish.portal.host, portal->host);
}

/* Where it was used: at another portal group its login would end nothing. */
static struct sess *settler_new(struct sess *s, const struct isid *i)
{
    struct mgr_wish wish = s->wish;
    uint8_t isid[6];
    struct sess *settler;

    if (*i->portal.host)
        wish.portal = i->portal;
    memcpy(isid, i->isid, sizeof(isid)); /* i goes when it is taken */
    if ((settler = sess_new(s->mgr, &wish, isid, false))) {
        settler->settler = true;
        settler->elsewhere = !same_portal(s, &wish.portal);
    }
    explicit_bzero(&wish, sizeof(wish));
    return settler;
}

static int settlers_begin(struct sess *s)
{
    struct mgr *m = s->mgr;

    endings_keep(m, s->wish.iqn);
    rt_list_for_safe (l, &m->isids) {
        struct isid *i = rt_list_entry(l, struct isid, link);

        if (i->owed && isid_free(m, i, s->wish.iqn) && !settler_new(s, i))
            return -ENOMEM;
    }
    return 0;
}

void isid_settle(struct sess *s, struct sess_wait *w)
{
    if (rt_list_empty(&s->settle_waits))
        s->unsure = false;
    if (settlers_begin(s))
        w->fn(w, -ENOMEM, "no memory for a session");
    else if (settlers(s->mgr, s->wish.iqn))
        rt_list_push(&s->settle_waits, &w->link);
    else
        w->fn(w, 0, NULL);
}

/* Who waits at that portal is told of the first that failed: it is on record still, and tried again with the next disk.
 * Who waits at another cannot wait for a portal that is gone: it is told that there is something left. */
void isid_settled(struct sess *settler)
{
    struct mgr *m = settler->mgr;
    const bool left = !settler->clean && !isid_lives(m, settler->conf.isid),
               more = settlers(m, settler->wish.iqn);
    char why[MGR_WHY_MAX];

    snprintf(why, sizeof(why),
             "a session of before may have left writes at the target, and cannot be ended there: %.600s",
             *settler->why_failed ? settler->why_failed : "the target did not confirm its logout");
    rt_list_for (l, &m->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (strcmp(s->wish.iqn, settler->wish.iqn))
            continue;
        s->unsure |= left;
        if (left && same_portal(s, &settler->wish.portal))
            sess_waits_call(&s->settle_waits, settler->err ? settler->err : -EIO, why);
        else if (!more)
            sess_waits_call(&s->settle_waits, 0, NULL);
    }
}
