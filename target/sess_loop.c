/*
 * sess_loop.c - a session that may go on in shared memory: offer, invitation, guest, and the change of datamovers
 *
 * Owns what the initiator handed over, from the door to the end of the session: tasks work in its arena longer than the
 * datamover lives. What the keys are is loopback/loop.h's, when they may come is sess_login.c's.
 */
#include <stdio.h>
#include <string.h>
#include "target/sess.h"

static void why_set(struct sess *s, const char *why)
{
    snprintf(s->loop.why, sizeof(s->loop.why), "%s", why);
}

/* The time it takes tells nothing of where they differ. */
static bool token_is(const uint8_t a[static LOOP_TOKEN_LEN], const uint8_t b[static LOOP_TOKEN_LEN])
{
    uint8_t differs = 0;

    for (unsigned i = 0; i < LOOP_TOKEN_LEN; i++)
        differs |= a[i] ^ b[i];
    return !differs;
}

/* Answers that any key may get (RFC 7143 6.2); NULL: it is at its place. */
static const char *misplaced(const struct sess *s, bool operational)
{
    return s->discovery ? "Irrelevant" : operational ? NULL : "Reject";
}

void guest_invite(struct sess *s, const char *offer, bool operational, char out[static LOOP_TEXT_MAX])
{
    const struct tgt *t = s->core->tgt;
    const char *no = misplaced(s, operational);
    struct loop_invitation inv;

    snprintf(out, LOOP_TEXT_MAX, "%s", no ? no : "No");
    if (no)
        return;
    if (!*t->loop_path) {
        why_set(s, t->loop_off);
        return;
    }
    if (!loop_offer_is_ours(offer)) {
        why_set(s, "the initiator is on another machine, or of another version");
        return;
    }
    rt_random(s->rt, inv.token, sizeof(inv.token));
    memcpy(inv.path, t->loop_path, sizeof(inv.path));
    if (!loop_invitation_encode(&inv, out))
        return; /* cannot be: it was tried at start */
    memcpy(s->loop.token, inv.token, sizeof(s->loop.token));
    s->loop.invited = true;
    why_set(s, "the initiator was invited and did not come");
}

struct sess *guest_find(const struct tgt_core *core, const uint8_t token[static LOOP_TOKEN_LEN])
{
    struct sess *found = NULL;

    rt_list_for(l, &core->sessions) {
        struct sess *s = rt_list_entry(l, struct sess, link);

        if (s->loop.invited && s->state == SESS_LOGIN && token_is(s->loop.token, token))
            found = s;
    }
    return found;
}

static void guest_drop(struct sess *s)
{
    loop_guest_free(s->loop.guest);
    s->loop.guest = NULL;
    s->loop.admitted = false;
}

/* loop_guest_admit() is over. */
static void guest_judged(void *user, int err, const char *why)
{
    struct sess *s = user;

    if (err) {
        snprintf(s->loop.why, sizeof(s->loop.why), "what the initiator handed over was not taken: %s",
                 why ? why : strerror(-err));
        guest_drop(s);
    } else {
        s->loop.admitted = true;
        why_set(s, "the initiator was let in and did not go on there");
    }
    if (s->loop.awaited && s->state == SESS_ASKING) {
        s->loop.awaited = false;
        login_conclude(s);
    }
}

void guest_welcome(struct sess *s, struct loop_guest *g)
{
    assert(s->loop.invited && !s->loop.guest);
    s->loop.invited = false;
    explicit_bzero(s->loop.token, sizeof(s->loop.token));
    s->loop.guest = g;
    loop_guest_admit(g, guest_judged, s);
}

const char *guest_go(struct sess *s, const char *value, bool operational, bool last)
{
    const bool yes = !strcmp(value, "Yes");
    const char *no = misplaced(s, operational);

    if (!no && !yes && strcmp(value, "No"))
        no = "Reject";
    if (no)
        return no;
    s->loop.go = yes && last && s->loop.guest;
    return s->loop.go ? NULL : "No";
}

bool guest_await(struct sess *s)
{
    s->loop.awaited = s->loop.go && s->loop.guest && !s->loop.admitted;
    return s->loop.awaited;
}

bool guest_settle(struct sess *s)
{
    const bool shm = s->loop.go && s->loop.admitted;

    s->loop.invited = false;
    if (shm)
        why_set(s, "on this host");
    else if (s->discovery)
        why_set(s, "a discovery session");
    else if (!*s->loop.why)
        why_set(s, "the initiator did not offer shared memory");
    if (!shm)
        guest_drop(s);
    return shm;
}

bool guest_enable(struct sess *s)
{
    struct dm *dm;

    if (dm_shm_new_target(&dm, s->dm, s->loop.guest, &sess_events, s))
        return false;
    s->dm = dm;
    return true;
}

void guest_end(struct sess *s)
{
    guest_drop(s);
}
