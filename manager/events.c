/*
 * events.c - what happened to disks and their paths: in the log, and the last of it in memory for who asks later
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/mgr_internal.h"

struct event {
    uint64_t nr, at_s; /* nr: from 1; 0: none yet */
    int level;
    char disk[MGR_NAME_MAX + 1], path[16], text[EVENT_TEXT_MAX];
};

struct events {
    uint64_t last;
    struct event ring[EVENTS_MAX];
};

struct events *events_new(void)
{
    return calloc(1, sizeof(struct events));
}

void events_free(struct events *e)
{
    free(e);
}

/* What a peer said may be anything: JSON wants UTF-8, a terminal nothing that it would obey. */
static void plain(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || (unsigned char)*text >= 0x7f)
            *text = '?';
}

void event_add(struct mgr *m, int level, const char *disk, const char *path, const char *fmt, ...)
{
    struct events *e = m->events;
    struct event *ev = &e->ring[e->last % EVENTS_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(ev->text, sizeof(ev->text), fmt, ap);
    va_end(ap);
    plain(ev->text);
    ev->nr = ++e->last;
    ev->at_s = rt_wall_s(m->rt);
    ev->level = level;
    snprintf(ev->disk, sizeof(ev->disk), "%s", disk);
    snprintf(ev->path, sizeof(ev->path), "%s", path);
    rt_log(level, "%s%s%s: %s", ev->disk, *path ? ": path " : "", path, ev->text);
}

static const char *level_word(int level)
{
    return level <= RT_ERR ? "error" : level == RT_WARN ? "warning" : level == RT_NOTICE ? "notice" : "info";
}

json_t *events_json(const struct events *e, uint64_t after)
{
    const uint64_t kept = e->last > EVENTS_MAX ? e->last - EVENTS_MAX : 0;
    json_t *list = json_array();

    for (uint64_t nr = (after > kept ? after : kept) + 1; nr <= e->last; nr++) {
        const struct event *ev = &e->ring[(nr - 1) % EVENTS_MAX];

        json_array_append_new(list, json_pack("{s:I, s:I, s:s, s:s, s:s, s:s}", "nr", (json_int_t)ev->nr,
                                              "time_s", (json_int_t)ev->at_s, "level", level_word(ev->level),
                                              "disk", ev->disk, "path", ev->path, "text", ev->text));
    }
    return json_pack("{s:I, s:o}", "last", (json_int_t)e->last, "events", list);
}
