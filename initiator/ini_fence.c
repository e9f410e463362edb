/*
 * ini_fence.c - nothing is left at the target of what a session whose connection is gone had sent
 *
 * A target ends a session, and all of its tasks, when another login comes with the same names, ISID and portal group
 * (RFC 7143 6.3.5). The session's own next login does that too, but where the way to its portal is cut it comes late; so a
 * session that is nothing but a login and a logout goes there by another portal. Owns that session and who waits for it.
 *
 * Session and fence may each end what the other has just made: who was let in first has done what is wanted, so both stop
 * there, and neither can keep the other out. A session that is broken so logs in once more, as after any break.
 */
#include <stdlib.h>
#include <string.h>
#include "initiator/ini_internal.h"

#define FENCE_MAX_S    5 /* requests wait for it: another portal may do better */
#define FENCE_LOGOUT_S 2
#define FENCE_RETRIES  1

struct ini_fence {
    struct ini_sess *sess; /* whose tasks are to end; NULL: no session was needed for that */
    struct ini_sess *via;  /* logs in and out; NULL: gone */
    struct rt *rt;
    struct rt_timer begin, limit;
    struct rt_op tell_op;
    bool answered, told;
    int err;
    void (*done)(void *user, int err);
    void *user;
};

static void fence_put(struct ini_fence *f)
{
    if (f->told && !f->via)
        free(f);
}

static void tell(struct rt_op *op, int res)
{
    struct ini_fence *f = container_of(op, struct ini_fence, tell_op);

    (void)res;
    f->done(f->user, f->err);
    f->told = true;
    fence_put(f);
}

static void tell_later(struct ini_fence *f, int err)
{
    f->answered = true;
    f->err = err;
    f->tell_op.done = tell;
    rt_defer(f->rt, &f->tell_op);
}

static void via_gone(void *user)
{
    struct ini_fence *f = user;
    struct ini_sess *s = f->sess;

    ini_sess_free(f->via);
    f->via = NULL;
    if (!--s->fences_nr && s->stop_held) {
        s->stop_held = false;
        rt_defer(s->rt, &s->stop_op);
    }
    ini_move_check(s);
    fence_put(f);
}

static void fence_over(struct ini_fence *f, int err)
{
    if (f->answered)
        return;
    rt_timer_disarm(f->rt, &f->begin);
    rt_timer_disarm(f->rt, &f->limit);
    f->sess->fence = NULL;
    tell_later(f, err);
    ini_sess_stop(f->via, false, via_gone, f);
}

static void via_up(void *user)
{
    struct ini_fence *f = user;
    const struct ini_sess *s = f->sess, *via = f->via;

    fence_over(f, via->tpgt_told && via->tpgt == s->tpgt ? 0 : -EXDEV);
}

static void via_failed(void *user, int err, const char *why)
{
    (void)why;
    fence_over(user, err);
}

static void limit_over(struct rt_timer *t)
{
    fence_over(container_of(t, struct ini_fence, limit), -ETIMEDOUT);
}

static void begin_due(struct rt_timer *t)
{
    ini_sess_start(container_of(t, struct ini_fence, begin)->via);
}

/* RFC 7143 7.5: the target is left alone for DefaultTime2Wait, or for what it has asked for. An attempt of the session's own
 * shows that this is over. */
static uint64_t wait_left_ns(const struct ini_sess *s)
{
    const uint64_t now = rt_now(s->rt), until = s->down_ns + s->wait_ns;

    return s->wait_ns && until > now ? until - now : 0;
}

static int via_start(struct ini_fence *f, struct ini_sess *s, const struct iscsi_portal *portal)
{
    static const struct ini_sess_events events = { .up = via_up, .failed = via_failed };
    struct ini_conf conf = s->conf;
    struct ini_settings *set = &conf.set;
    int err;

    conf.portal = *portal;
    set->transport = INI_TRANSPORT_TCP;
    set->cmds_max = 2;
    set->noop_interval_s = 0;
    set->login_retry_max = FENCE_RETRIES;
    set->chap_algs = s->chap_algs;
    if (set->login_timeout_s > FENCE_MAX_S)
        set->login_timeout_s = FENCE_MAX_S;
    if (set->logout_timeout_s > FENCE_LOGOUT_S)
        set->logout_timeout_s = FENCE_LOGOUT_S;
    err = ini_sess_new(&f->via, s->rt, &conf, &events, f);
    explicit_bzero(&conf.set, sizeof(conf.set));
    if (err)
        return err;
    f->sess = s;
    s->fence = f;
    s->fences_nr++;
    f->limit.fn = limit_over;
    rt_timer_arm(f->rt, &f->limit, (uint64_t)f->via->conf.set.login_timeout_s * RT_S);
    f->begin.fn = begin_due;
    if (wait_left_ns(s))
        rt_timer_arm(f->rt, &f->begin, wait_left_ns(s));
    else
        ini_sess_start(f->via);
    return 0;
}

void ini_sess_fence(struct ini_sess *s, const struct iscsi_portal *portal, void (*done)(void *user, int err),
                    void *user)
{
    struct ini_fence *f = calloc(1, sizeof(*f));
    int err;

    rt_assert_here(s->rt);
    if (!f) {
        done(user, -ENOMEM);
        return;
    }
    f->rt = s->rt;
    f->done = done;
    f->user = user;
    if (s->state == INI_UP || !s->ever_up)
        err = 0; /* its login has ended what was before */
    else if (s->stopping)
        err = -ECANCELED;
    else if (s->fence)
        err = -EBUSY;
    else if (!s->tpgt_told)
        err = -EXDEV; /* who can say then that it is the same group */
    else if (!(err = via_start(f, s, portal)))
        return;
    tell_later(f, err);
}

void ini_fence_end(struct ini_sess *s, int err)
{
    if (s->fence)
        fence_over(s->fence, err);
}
