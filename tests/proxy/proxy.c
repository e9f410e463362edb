/*
 * proxy.c - see proxy.h
 *
 * Lines without '#' are steps of a plan: what was done, where. Lines with one tell what else happened.
 */
#include "tests/proxy/proxy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "reactor/rt_list.h"
#include "tests/proxy/lane.h"
#include "tests/proxy/login.h"

struct stream { /* a lane, and which faults wait in it */
    struct lane lane;
    unsigned plan_at;
    struct dice dice;
    uint64_t drawn_at; /* byte; LANE_NEVER: none */
    struct fault drawn;
};

struct link {
    struct rt_link link;
    struct proxy *proxy;
    uint32_t nr;
    int fd[2]; /* by enum way: where that stream goes to: target, initiator */
    bool connecting, reset;
    uint64_t hole_until; /* ms */
    struct login login;
    struct stream stream[2]; /* by enum way */
    size_t polled;           /* place of fd[0] in the proxy's poll array */
};

struct proxy {
    struct proxy_conf conf;
    struct timespec start;
    int listener, control;
    char line[512]; /* of the control file, so far */
    size_t line_len;
    struct rt_link links;
    uint32_t links_nr, last;
    unsigned plan_at;
    uint64_t hole_until, drawn_at; /* ms */
    struct dice dice;
    bool calm;
    uint64_t done[FAULT_KINDS];
    struct pollfd *polls;
    size_t polls_max;
};

/* ---- time and words -------------------------------------------------------------------------------------- */

static uint64_t now_ns(const struct proxy *p)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)((t.tv_sec - p->start.tv_sec) * 1000000000 + (t.tv_nsec - p->start.tv_nsec));
}

static uint64_t now_ms(const struct proxy *p)
{
    return now_ns(p) / 1000000;
}

__attribute__((format(printf, 2, 3))) static void say(const struct proxy *p, const char *fmt, ...)
{
    const uint64_t ms = now_ms(p);
    va_list ap;

    printf("[%4" PRIu64 ".%03" PRIu64 "] ", ms / 1000, ms % 1000);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

/* ---- faults ---------------------------------------------------------------------------------------------- */

static struct lane *lane_of(struct link *k, enum way way)
{
    return &k->stream[way].lane;
}

static void draw_next(struct link *k, enum way way)
{
    const struct proxy_conf *c = &k->proxy->conf;
    struct stream *st = &k->stream[way];

    st->drawn_at = LANE_NEVER;
    if (!c->mix.sum || !c->every_bytes)
        return;
    st->drawn_at = st->lane.out + dice_draw(&st->dice, 1, 2 * c->every_bytes);
    st->drawn = mix_draw(&c->mix, &st->dice);
}

/* On one stream of one connection. What has no sense there (a flip that no digest would notice, a stream that is lost
 * already) is passed over. */
static void fault_do(struct link *k, enum way way, const struct fault *f, uint64_t now)
{
    struct proxy *p = k->proxy;
    struct lane *l = lane_of(k, way);
    const struct step s = { .where = l->out, .conn = k->nr, .way = way, .fault = *f };
    char text[STEP_TEXT_MAX];

    step_format(&s, text);
    if (k->reset || (f->kind != FAULT_RESET && (l->dead || l->shut)))
        return;
    if (f->kind == FAULT_FLIP && (!login_covered(&k->login) || !l->len)) {
        say(p, "# passed over, no digest covers it: %s", text);
        return;
    }
    say(p, "%s", text);
    p->done[f->kind]++;
    if (f->kind == FAULT_RESET)
        k->reset = true;
    else if (f->kind == FAULT_BLACKHOLE)
        k->hole_until = now + f->arg[0];
    else
        lane_fault(l, f, now);
}

/* The byte before which the next fault of the stream is due. */
static uint64_t fault_at(struct link *k, enum way way, const struct step **planned)
{
    struct stream *st = &k->stream[way];
    uint64_t at = k->proxy->calm ? LANE_NEVER : st->drawn_at;

    *planned = plan_next_byte(k->proxy->conf.plan, &st->plan_at, k->nr, way);
    if (*planned && (*planned)->where <= at)
        return (*planned)->where;
    *planned = NULL;
    return at;
}

/* Return: whether there was one: the stream may go on. */
static bool fault_due(struct link *k, enum way way, uint64_t now)
{
    struct stream *st = &k->stream[way];
    const struct step *planned;
    const uint64_t at = fault_at(k, way, &planned);
    const struct fault f = planned ? planned->fault : st->drawn;

    if (at > st->lane.out || k->reset || now < k->hole_until)
        return false;
    if (f.kind == FAULT_FLIP && !st->lane.len && !st->lane.dead) /* the byte it is for is yet to come */
        return false;
    if (planned)
        st->plan_at++;
    else
        draw_next(k, way);
    fault_do(k, way, &f, now);
    return true;
}

/* Now, on every connection that is meant. */
static void step_do(struct proxy *p, const struct step *s, uint64_t now)
{
    const bool whole = s->fault.kind == FAULT_RESET || s->fault.kind == FAULT_BLACKHOLE;

    if (s->fault.kind == FAULT_BLACKHOLE && !s->conn) {
        say(p, "at %" PRIu64 " blackhole %" PRIu32, now, s->fault.arg[0]);
        p->hole_until = now + s->fault.arg[0];
        p->done[FAULT_BLACKHOLE]++;
        return;
    }
    rt_list_for (l, &p->links) {
        struct link *k = rt_list_entry(l, struct link, link);

        if ((s->conn && s->conn != k->nr) || k->connecting)
            continue;
        if (s->way != WAY_DOWN)
            fault_do(k, WAY_UP, &s->fault, now);
        if (s->way == WAY_DOWN || (s->way == WAY_BOTH && !whole))
            fault_do(k, WAY_DOWN, &s->fault, now);
    }
}

static void draw_timed(struct proxy *p, uint64_t now)
{
    const struct proxy_conf *c = &p->conf;

    p->drawn_at = c->mix.sum && c->every_ms ? now + dice_draw(&p->dice, 1, 2 * c->every_ms) : LANE_NEVER;
}

static void drawn_do(struct proxy *p, uint64_t now)
{
    uint64_t skip = p->links_nr ? dice_draw(&p->dice, 0, p->links_nr - 1) : 0;
    const enum way way = (enum way)dice_draw(&p->dice, WAY_UP, WAY_DOWN);
    const struct fault f = mix_draw(&p->conf.mix, &p->dice);

    rt_list_for (l, &p->links) {
        struct link *k = rt_list_entry(l, struct link, link);

        if (skip--)
            continue;
        if (!k->connecting)
            fault_do(k, way, &f, now);
        break;
    }
    draw_timed(p, now);
}

static void timed(struct proxy *p, uint64_t now)
{
    const struct step *s;

    while ((s = plan_next_timed(p->conf.plan, &p->plan_at)) && s->where <= now) {
        p->plan_at++;
        step_do(p, s, now);
    }
    if (!p->calm && p->drawn_at <= now)
        drawn_do(p, now);
}

/* ---- links ----------------------------------------------------------------------------------------------- */

static void nodelay(int fd)
{
    const int one = 1;

    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void fd_close(int fd, bool reset)
{
    const struct linger now = { .l_onoff = 1 };

    if (fd < 0)
        return;
    if (reset)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

static void link_say(struct link *k, const char *word)
{
    say(k->proxy, "# conn %" PRIu32 " %s: up %" PRIu64 " of %" PRIu64 " bytes, down %" PRIu64 " of %" PRIu64, k->nr,
        word, lane_of(k, WAY_UP)->out, lane_of(k, WAY_UP)->in, lane_of(k, WAY_DOWN)->out,
        lane_of(k, WAY_DOWN)->in);
}

static void link_end(struct link *k)
{
    struct proxy *p = k->proxy;

    link_say(k, k->reset ? "reset" : "closed");
    fd_close(k->fd[WAY_UP], k->reset);
    fd_close(k->fd[WAY_DOWN], k->reset);
    rt_list_del(&k->link);
    p->links_nr--;
    free(k);
}

static void link_connected(struct link *k)
{
    int err = 0;
    socklen_t len = sizeof(err);

    k->connecting = false;
    if (!getsockopt(k->fd[WAY_UP], SOL_SOCKET, SO_ERROR, &err, &len) && !err)
        return;
    say(k->proxy, "# conn %" PRIu32 ": the target cannot be reached: %s", k->nr, strerror(err));
    k->reset = true;
}

static struct link *link_new(struct proxy *p, int client)
{
    const struct rt_addr *to = &p->conf.target;
    struct link *k = calloc(1, sizeof(*k));
    const int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (!k || fd < 0) {
        free(k);
        fd_close(fd, false);
        fd_close(client, true);
        return NULL;
    }
    nodelay(client);
    nodelay(fd);
    k->proxy = p;
    k->nr = ++p->last;
    k->fd[WAY_UP] = fd;
    k->fd[WAY_DOWN] = client;
    k->connecting = true;
    for (enum way w = WAY_UP; w <= WAY_DOWN; w++) {
        lane_open(lane_of(k, w), k->fd[!w], k->fd[w]);
        k->stream[w].dice = dice_of(p->conf.seed, k->nr, w);
        draw_next(k, w);
    }
    rt_list_push(&p->links, &k->link);
    p->links_nr++;
    say(p, "# conn %" PRIu32 " open", k->nr);
    if (!connect(fd, &to->sa, to->len) || errno != EINPROGRESS)
        link_connected(k);
    return k;
}

static void accept_all(struct proxy *p)
{
    int fd;

    while ((fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        link_new(p, fd);
}

/* Down a lane: what the target says of login is looked at. */
static void sent(void *arg, const uint8_t *bytes, size_t len)
{
    struct lane *l = arg;
    struct link *k = container_of(container_of(l, struct stream, lane), struct link, stream[WAY_DOWN]);

    login_feed(&k->login, bytes, len);
}

static void stream_run(struct link *k, enum way way, uint64_t now)
{
    struct lane *l = lane_of(k, way);
    const struct step *planned;

    do {
        const uint64_t limit = fault_at(k, way, &planned);

        if (now < k->hole_until || k->reset)
            return;
        /* Timed faults came in between and moved the stream past a place that was drawn: it is due at once. */
        lane_write(l, now, limit > l->out ? limit : l->out, way == WAY_DOWN ? sent : NULL, l);
    } while (fault_due(k, way, now));
    k->reset |= lane_reset_due(l);
}

/* ---- the loop -------------------------------------------------------------------------------------------- */

static bool held(const struct link *k, uint64_t now)
{
    return now < k->hole_until || now < k->proxy->hole_until;
}

static short wanted(struct link *k, enum way to, uint64_t now)
{
    /* Into the socket goes the one lane, out of it comes the other. */
    return (short)((lane_wants_write(lane_of(k, to), now) ? POLLOUT : 0) |
                   (lane_wants_read(lane_of(k, !to), now) ? POLLIN : 0));
}

static void poll_add(struct proxy *p, size_t *n, int fd, short events)
{
    /* Without a wish not even an error is wanted: it would be told again and again. */
    p->polls[(*n)++] = (struct pollfd){ .fd = events ? fd : -1, .events = events };
}

static void earlier(uint64_t *wake, uint64_t at)
{
    if (at < *wake)
        *wake = at;
}

static void link_poll(struct link *k, size_t *n, uint64_t now, uint64_t *wake)
{
    struct proxy *p = k->proxy;
    const bool hold = held(k, now);

    k->polled = *n;
    for (enum way w = WAY_UP; w <= WAY_DOWN; w++) {
        if (k->connecting)
            poll_add(p, n, k->fd[w], w == WAY_UP && !hold ? POLLOUT : 0);
        else
            poll_add(p, n, k->fd[w], hold ? 0 : wanted(k, w, now));
        if (!hold && !k->connecting)
            earlier(wake, lane_wake(lane_of(k, w), now));
    }
    if (now < k->hole_until)
        earlier(wake, k->hole_until);
}

static void link_run(struct link *k, uint64_t now)
{
    const struct pollfd *pf = &k->proxy->polls[k->polled];

    if (held(k, now) && !k->reset)
        return;
    if (k->connecting) {
        if (pf[WAY_UP].revents)
            link_connected(k);
    } else {
        for (enum way w = WAY_UP; w <= WAY_DOWN; w++)
            if (pf[!w].revents & ~POLLOUT && lane_wants_read(lane_of(k, w), now))
                lane_read(lane_of(k, w), now);
        for (enum way w = WAY_UP; w <= WAY_DOWN; w++)
            stream_run(k, w, now);
    }
    if (k->reset || (lane_done(lane_of(k, WAY_UP)) && lane_done(lane_of(k, WAY_DOWN))))
        link_end(k);
}

static void calm(struct proxy *p)
{
    p->calm = true;
    p->hole_until = 0;
    rt_list_for (l, &p->links) {
        struct link *k = rt_list_entry(l, struct link, link);

        k->hole_until = 0;
        for (enum way w = WAY_UP; w <= WAY_DOWN; w++)
            k->reset |= !lane_calm(lane_of(k, w));
    }
}

static void control_line(struct proxy *p, const char *line, uint64_t now)
{
    char why[PLAN_WHY_MAX];
    struct step s;
    int ret;

    if (!strcmp(line, "calm")) {
        calm(p);
    } else if (!strcmp(line, "go")) {
        p->calm = false;
    } else if (!strcmp(line, "show")) {
        rt_list_for (l, &p->links)
            link_say(rt_list_entry(l, struct link, link), "is open");
    } else if ((ret = step_parse(&s, line, why)) < 0) {
        say(p, "# '%s': %s", line, why);
    } else if (ret && !(s.timed && !s.where)) {
        say(p, "# '%s': only 'now' can be told while running", line);
    } else if (ret) {
        step_do(p, &s, now);
    }
    say(p, "# done: %s", line);
}

static void control_read(struct proxy *p, uint64_t now)
{
    const ssize_t n = read(p->control, p->line + p->line_len, sizeof(p->line) - 1 - p->line_len);
    char *line = p->line, *end;

    if (n <= 0)
        return;
    p->line_len += (size_t)n;
    p->line[p->line_len] = '\0';
    for (; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        control_line(p, line, now);
    }
    p->line_len = strlen(line);
    if (p->line_len == sizeof(p->line) - 1)
        p->line_len = 0; /* no line is that long */
    memmove(p->line, line, p->line_len);
}

static int polls_grow(struct proxy *p)
{
    const size_t want = 2 + 2 * (size_t)p->links_nr;
    struct pollfd *more;

    if (want <= p->polls_max)
        return 0;
    if (!(more = realloc(p->polls, 2 * want * sizeof(*more))))
        return -ENOMEM;
    p->polls = more;
    p->polls_max = 2 * want;
    return 0;
}

static int wait(struct proxy *p, uint64_t now, const sigset_t *unblocked)
{
    uint64_t wake = p->calm ? LANE_NEVER : p->drawn_at;
    const struct step *s = plan_next_timed(p->conf.plan, &p->plan_at);
    struct timespec ts;
    size_t n = 0;

    poll_add(p, &n, p->listener, now < p->hole_until ? 0 : POLLIN);
    poll_add(p, &n, p->control, p->control < 0 ? 0 : POLLIN);
    rt_list_for (l, &p->links)
        link_poll(rt_list_entry(l, struct link, link), &n, now, &wake);
    if (now < p->hole_until)
        earlier(&wake, p->hole_until);
    if (s)
        earlier(&wake, s->where);
    wake = wake > UINT64_MAX / 1000000 ? LANE_NEVER : wake * 1000000; /* to the millisecond's beginning, not later */
    now = now_ns(p);
    now = wake > now ? wake - now : 0;
    ts = (struct timespec){ .tv_sec = (time_t)(now / 1000000000), .tv_nsec = (long)(now % 1000000000) };
    return ppoll(p->polls, n, wake == LANE_NEVER ? NULL : &ts, unblocked) < 0 && errno != EINTR ? -errno : 0;
}

int proxy_run(struct proxy *p, const volatile sig_atomic_t *stop, const sigset_t *unblocked)
{
    int err;

    while (!*stop) {
        uint64_t now = now_ms(p);

        if ((err = polls_grow(p)) || (err = wait(p, now, unblocked)))
            return err;
        if (*stop)
            break;
        now = now_ms(p);
        timed(p, now);
        if (p->polls[1].fd >= 0 && p->polls[1].revents)
            control_read(p, now);
        /* Before new ones come, who have no place in the array yet. */
        rt_list_for_safe (l, &p->links)
            link_run(rt_list_entry(l, struct link, link), now);
        if (now >= p->hole_until)
            accept_all(p);
    }
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static int listen_open(struct proxy *p)
{
    const struct rt_addr *at = &p->conf.listen;
    struct rt_addr bound = { .len = sizeof(bound.storage) };
    char text[RT_ADDR_STR_MAX];
    const int one = 1;

    p->listener = socket(at->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->listener < 0 || setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
        bind(p->listener, &at->sa, at->len) || listen(p->listener, 128) ||
        getsockname(p->listener, &bound.sa, &bound.len)) {
        const int err = -errno;

        rt_addr_format(at, text);
        fprintf(stderr, "corelane-faultproxy: cannot listen at %s: %s\n", text, strerror(-err));
        return err;
    }
    rt_addr_format(&bound, text);
    say(p, "# listening at %s", text);
    return 0;
}

static int control_open(struct proxy *p)
{
    if (!p->conf.control)
        return 0;
    /* For writing too: so it has no end when the last writer closes it. */
    if (mkfifo(p->conf.control, 0600) ||
        (p->control = open(p->conf.control, O_RDWR | O_NONBLOCK | O_CLOEXEC)) < 0) {
        const int err = -errno;

        fprintf(stderr, "corelane-faultproxy: control file %s: %s\n", p->conf.control, strerror(-err));
        p->conf.control = NULL;
        return err;
    }
    return 0;
}

int proxy_new(struct proxy **out, const struct proxy_conf *conf)
{
    struct proxy *p = calloc(1, sizeof(*p));
    int err;

    if (!p)
        return -ENOMEM;
    p->conf = *conf;
    p->listener = p->control = -1;
    p->dice = dice_of(conf->seed, 0, WAY_BOTH);
    rt_list_init(&p->links);
    clock_gettime(CLOCK_MONOTONIC, &p->start);
    draw_timed(p, 0);
    if ((err = control_open(p)) || (err = listen_open(p))) {
        proxy_free(p);
        return err;
    }
    *out = p;
    return 0;
}

void proxy_free(struct proxy *p)
{
    if (!p)
        return;
    rt_list_for_safe (l, &p->links)
        link_end(rt_list_entry(l, struct link, link));
    for (unsigned k = 0; k < FAULT_KINDS && p->listener >= 0; k++)
        if (p->done[k])
            say(p, "# %s: %" PRIu64, fault_rows[k].word, p->done[k]);
    fd_close(p->listener, false);
    fd_close(p->control, false);
    if (p->conf.control)
        unlink(p->conf.control);
    free(p->polls);
    free(p);
}
