/*
 * kernel_watch.c - steers the kernel's sessions as they come, until it is told to end
 *
 * A new session is announced before it has a portal, and logs in some time later; so while one is being set up sysfs is
 * looked at in growing intervals. Without the kernel's events it is looked at all the time.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "balancer/kern_events.h"
#include "programs/corelane/kernel.h"

#define PENDING_MIN_MS 100
#define PENDING_MAX_MS 2000
#define NO_EVENTS_MS   1000
#define IDLE_MS        10000 /* drift, and what no event tells of */
#define TOLD_MAX       4096

struct watch {
    struct kernel *k;
    struct bal_kern_events *events; /* NULL: cannot be had */
    bool events_missed;             /* and that was said */
    json_t *told;                   /* what was said once is not said again: a set of texts */
    int signals;
    int pending_ms;
};

/* A message that would come at each look. Return: it is new. */
static bool told_first(struct watch *w, const char *text)
{
    if (json_object_get(w->told, text))
        return false;
    if (json_object_size(w->told) >= TOLD_MAX)
        json_object_clear(w->told);
    json_object_set_new(w->told, text, json_true());
    return true;
}

static void events_try(struct watch *w)
{
    char why[256];

    if (w->events || !bal_sys_is_real(w->k->sys))
        return;
    if (!bal_kern_events_open(&w->events, why)) {
        printf("listening to the kernel's iSCSI events\n");
        w->events_missed = false;
    } else if (!w->events_missed) {
        w->events_missed = true;
        kernel_say(w->k, "%s: looking every second instead", why);
    }
}

static void event_told(void *user, const struct bal_kern_event *ev)
{
    struct watch *w = user;

    w->pending_ms = PENDING_MIN_MS;
    switch (ev->what) {
    case BAL_KERN_CREATED: printf("event: session %u came (host %u)\n", ev->sid, ev->host); break;
    case BAL_KERN_DESTROYED: printf("event: session %u ended\n", ev->sid); break;
    case BAL_KERN_FAILED: printf("event: connection of session %u broke\n", ev->sid); break;
    case BAL_KERN_LOST: printf("event: some were lost\n"); break;
    case BAL_KERN_UNBOUND: break;
    }
}

static void drift_told(void *user, const struct bal_log_view *v)
{
    struct watch *w = user;
    char name[600], text[1400];

    if (v->state != BAL_LOG_DRIFT && v->state != BAL_LOG_BACK)
        return;
    snprintf(text, sizeof(text), "drift: %s is '%.300s' by now, we had set '%.300s': left alone",
             kernel_name(v->name, name), v->now, v->want);
    if (told_first(w, text))
        kernel_say(w->k, "%s", text);
}

/* One look, and what follows from it. Return: sessions that are being set up. */
static unsigned look(struct watch *w)
{
    struct bal_steer *p = NULL;
    unsigned pending = 1;
    char why[256];

    kernel_load(w->k);
    if (bal_log_prune(w->k->log, why) || bal_steer_plan(&p, &w->k->conf, why)) {
        if (told_first(w, why))
            kernel_say(w->k, "%s", why);
        return pending;
    }
    pending = p->pending;
    for (unsigned i = 0; i < p->seats; i++) {
        const struct bal_steer_seat *s = &p->seat[i];
        char text[600];

        snprintf(text, sizeof(text), "session %u, %s: %s", s->sess.sid, *s->sess.target ? s->sess.target : "-",
                 s->why);
        if (!s->kept && !s->pending && told_first(w, text))
            printf("%s\n", text);
    }
    kernel_apply(w->k, p, NULL);
    for (unsigned i = 0; i < p->notes; i++)
        if (told_first(w, p->note[i]))
            kernel_say(w->k, "note: %s", p->note[i]);
    bal_log_each(w->k->log, drift_told, w);
    bal_steer_free(p);
    return pending;
}

static int timeout_of(struct watch *w, unsigned pending)
{
    int ms = w->events ? IDLE_MS : NO_EVENTS_MS;

    if (pending && w->pending_ms < ms)
        ms = w->pending_ms;
    w->pending_ms = !pending                             ? PENDING_MIN_MS
                    : w->pending_ms * 2 > PENDING_MAX_MS ? PENDING_MAX_MS
                                                         : w->pending_ms * 2;
    return ms;
}

/* Return: it goes on. */
static bool wait_for(struct watch *w, int ms)
{
    struct pollfd fds[2] = { { .fd = w->signals, .events = POLLIN },
                             { .fd = w->events ? bal_kern_events_fd(w->events) : -1, .events = POLLIN } };

    if (poll(fds, 2, ms) < 0 && errno != EINTR)
        return false;
    if (fds[0].revents) { /* taken, or it would end us as soon as it may */
        (void)!read(w->signals, &(struct signalfd_siginfo){ 0 }, sizeof(struct signalfd_siginfo));
        return false;
    }
    if (fds[1].revents && bal_kern_events_read(w->events, event_told, w) < 0) {
        bal_kern_events_close(w->events);
        w->events = NULL;
    }
    return true;
}

int kernel_watch(struct kernel *k)
{
    struct watch w = { .k = k, .told = json_object(), .signals = -1, .pending_ms = PENDING_MIN_MS };
    sigset_t ends, before;
    unsigned pending;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigprocmask(SIG_BLOCK, &ends, &before);
    if ((w.signals = signalfd(-1, &ends, SFD_CLOEXEC)) < 0)
        return kernel_say(k, "signals: %s", strerror(errno));
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("watching: SIGTERM ends it, and leaves what is set\n");
    do {
        events_try(&w); /* before the look, so that nothing falls between */
        pending = look(&w);
        k->conf.watching = true; /* the first look was asked for */
    } while (wait_for(&w, timeout_of(&w, pending)));
    bal_kern_events_close(w.events);
    json_decref(w.told);
    close(w.signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return 0;
}
