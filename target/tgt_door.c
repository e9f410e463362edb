/*
 * tgt_door.c - the unix socket where initiators of this host hand their memory over, and the way from there to the
 * session that waits for it
 *
 * The door is on the first core. Which session a token belongs to is known on that session's core alone, so each is
 * asked; the guest goes there, and is looked for once more, as the session may have ended on the way.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "target/sess.h"

/* A guest on its way. */
struct visit {
    struct tgt_round round;
    struct rt_msg msg;
    struct loop_guest *guest;
    struct tgt_core *core; /* where its session is; NULL: nowhere yet */
    uint8_t token[LOOP_TOKEN_LEN];
};

static void turn_away(struct visit *v)
{
    rt_log_peer(RT_WARN, "an initiator at the loopback socket was turned away: no login waits for its token");
    loop_guest_free(v->guest);
    free(v);
}

/* On the core that has, or had, its session. */
static void visit_arrived(struct rt_msg *m)
{
    struct visit *v = container_of(m, struct visit, msg);
    struct sess *s = guest_find(v->core, v->token);

    if (!s) {
        turn_away(v);
        return;
    }
    guest_welcome(s, v->guest);
    free(v);
}

/* On the first core. */
static void visit_over(struct tgt_round *r)
{
    struct visit *v = container_of(r, struct visit, round);

    if (!v->core) {
        turn_away(v);
        return;
    }
    loop_guest_move(v->guest, v->core->rt);
    v->msg.fn = visit_arrived;
    rt_post(v->core->rt, &v->msg);
}

static void visit_each(struct tgt_core *core, struct tgt_round *r)
{
    struct visit *v = container_of(r, struct visit, round);

    if (guest_find(core, v->token))
        v->core = core;
}

static void on_came(void *user, struct loop_guest *g)
{
    struct tgt *t = user;
    struct visit *v = calloc(1, sizeof(*v));

    if (!v) {
        rt_log_peer(RT_ERR, "no memory for an initiator at the loopback socket");
        loop_guest_free(g);
        return;
    }
    v->guest = g;
    memcpy(v->token, loop_guest_token(g), sizeof(v->token));
    v->round = (struct tgt_round){ .each = visit_each, .over = visit_over, .home = t->rt };
    tgt_round_start(t, &v->round);
}

void door_open(struct tgt *t, const char *path)
{
    struct loop_invitation inv = { 0 };
    char text[LOOP_TEXT_MAX];
    int err;

    if (!path) {
        t->loop_off = "loopback is switched off here";
        return;
    }
    t->loop_off = "the target has no socket for it; its log says why";
    if (snprintf(inv.path, sizeof(inv.path), "%s", path) >= (int)sizeof(inv.path) ||
        !loop_invitation_encode(&inv, text)) {
        rt_log(RT_WARN,
               "no loopback: %s is too long for a socket, or has a blank, a comma or a control character in "
               "it; sessions of this host use TCP. Choose another run directory",
               path);
        return;
    }
    if ((err = loop_door_open(&t->door, t->rt, path, on_came, t))) {
        rt_log(RT_WARN, "no loopback: the socket %s cannot be opened: %s; sessions of this host use TCP", path,
               strerror(-err));
        return;
    }
    memcpy(t->loop_path, inv.path, sizeof(t->loop_path));
}

void door_close(struct tgt *t)
{
    loop_door_close(t->door);
    t->door = NULL;
}
