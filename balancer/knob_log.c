/*
 * knob_log.c - the journal of changed kernel settings
 *
 * Lines: {"op":"set","name":..,"id":..,"boot":..,"time":..,"old":..,"new":..,"why":..} before each change, and
 * {"op":"end","name":..,"id":..,"boot":..} when a setting was put back or its object is gone. In memory a setting is one entry with
 * the value it had first and all that we gave it since: a crash may have left it with any of them.
 *
 * Who holds the file's lock may write. The file is never removed, so that there is one to be locked; it is replaced when it
 * has grown, by a new one that is locked before it has the name.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "balancer/knob_log.h"
#include "rpc/json.h"

#define FILE_MAX     (16 << 20) /* nothing that we wrote is as large: not read */
#define FILE_COMPACT (1 << 20)  /* written anew from here on, where that helps */
#define ENTRIES_MAX  65536
#define VALUES_MAX   4096 /* of one setting: distinct ones */
#define BOOT_MAX     64

struct entry {
    char *name, *old, *reason;
    enum bal_knob kind;
    uint64_t id;
    char boot[BOOT_MAX];
    long long since;
    char **value; /* the last is the present one */
    unsigned values;
};

struct bal_log {
    const struct bal_knobs *knobs;
    char *dir;
    int fd; /* -1: only looked at */
    char boot[BOOT_MAX];
    struct entry *entry;
    unsigned nr;
    off_t len;     /* of the whole lines in the file */
    off_t compact; /* length from which on it is worth being written anew */
};

static void entry_clear(struct entry *e)
{
    for (unsigned i = 0; i < e->values; i++)
        free(e->value[i]);
    free(e->value);
    free(e->name);
    free(e->old);
    free(e->reason);
}

static void entry_remove(struct bal_log *l, unsigned i)
{
    entry_clear(&l->entry[i]);
    memmove(&l->entry[i], &l->entry[i + 1], (l->nr - i - 1) * sizeof(l->entry[0]));
    l->nr--;
}

void bal_log_close(struct bal_log *l)
{
    if (!l)
        return;
    while (l->nr)
        entry_remove(l, l->nr - 1);
    free(l->entry);
    free(l->dir);
    if (l->fd >= 0)
        close(l->fd); /* and with it the lock */
    free(l);
}

static struct entry *entry_find(const struct bal_log *l, const char *name, uint64_t id, const char *boot)
{
    for (unsigned i = 0; i < l->nr; i++)
        if (l->entry[i].id == id && !strcmp(l->entry[i].name, name) && !strcmp(l->entry[i].boot, boot))
            return &l->entry[i];
    return NULL;
}

/* The value becomes the last of the entry's: the one that is in force. */
static int entry_value(struct entry *e, const char *value)
{
    char **more, *copy;

    for (unsigned i = 0; i < e->values; i++) {
        if (strcmp(e->value[i], value))
            continue;
        copy = e->value[i];
        memmove(&e->value[i], &e->value[i + 1], (e->values - i - 1) * sizeof(e->value[0]));
        e->value[e->values - 1] = copy;
        return 0;
    }
    if (e->values == VALUES_MAX)
        return -E2BIG;
    if (!(more = realloc(e->value, (e->values + 1) * sizeof(*more))))
        return -ENOMEM;
    e->value = more;
    if (!(e->value[e->values] = strdup(value)))
        return -ENOMEM;
    e->values++;
    return 0;
}

static int entry_add(struct bal_log *l, enum bal_knob kind, const char *name, uint64_t id, const char *boot,
                     long long since, const char *old, const char *reason)
{
    struct entry *more, *e;

    if (l->nr == ENTRIES_MAX)
        return -E2BIG;
    if (!(more = realloc(l->entry, (l->nr + 1) * sizeof(*more))))
        return -ENOMEM;
    l->entry = more;
    e = &l->entry[l->nr];
    *e = (struct entry){ .kind = kind,
                         .id = id,
                         .since = since,
                         .name = strdup(name),
                         .old = strdup(old),
                         .reason = strdup(reason) };
    snprintf(e->boot, sizeof(e->boot), "%s", boot);
    l->nr++;
    if (e->name && e->old && e->reason)
        return 0;
    entry_remove(l, l->nr - 1);
    return -ENOMEM;
}

/* Everything the entry knows. Return: 0, or -errno with nothing changed. */
static int learn(struct bal_log *l, enum bal_knob kind, const char *name, uint64_t id, const char *boot,
                 long long since, const char *old, const char *value, const char *reason)
{
    struct entry *e = entry_find(l, name, id, boot);
    const bool fresh = !e;
    int err;

    if (fresh) {
        if ((err = entry_add(l, kind, name, id, boot, since, old, reason)))
            return err;
        e = &l->entry[l->nr - 1];
    } else {
        char *newest = strdup(reason);

        if (!newest)
            return -ENOMEM;
        free(e->reason);
        e->reason = newest;
    }
    err = entry_value(e, value);
    if (err && fresh)
        entry_remove(l, l->nr - 1);
    return err;
}

static const char *string_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

/* One line of the file. Return: 0, -ENOMEM, -EBADMSG: nothing that we wrote. */
static int line_take(struct bal_log *l, const char *text, size_t len)
{
    json_t *o = NULL;
    int err = rpc_json_read(&o, text, len, JSON_REJECT_DUPLICATES, NULL);
    const char *name, *op, *boot;
    int kind;
    uint64_t id;

    if (err)
        return err == -ENOMEM ? err : -EBADMSG;
    err = -EBADMSG;
    name = string_of(o, "name");
    op = string_of(o, "op");
    boot = string_of(o, "boot");
    kind = bal_knob_of(name);
    id = (uint64_t)json_integer_value(json_object_get(o, "id"));
    if (kind < 0 || strlen(boot) >= BOOT_MAX || !json_is_integer(json_object_get(o, "id"))) {
        ;
    } else if (!strcmp(op, "set") && json_is_string(json_object_get(o, "old")) &&
               json_is_string(json_object_get(o, "new")) &&
               bal_knob_valid((enum bal_knob)kind, string_of(o, "old")) &&
               bal_knob_valid((enum bal_knob)kind, string_of(o, "new"))) {
        err = learn(l, (enum bal_knob)kind, name, id, boot, json_integer_value(json_object_get(o, "time")),
                    string_of(o, "old"), string_of(o, "new"), string_of(o, "why"));
    } else if (!strcmp(op, "end")) {
        const struct entry *e = entry_find(l, name, id, boot);

        if (e)
            entry_remove(l, (unsigned)(e - l->entry));
        err = 0;
    }
    json_decref(o);
    return err;
}

/* ---- the file -------------------------------------------------------------------------------------------- */

static void log_path(const char *dir, const char *suffix, char out[static 4096])
{
    snprintf(out, 4096, "%s/%s%s", dir, BAL_LOG_FILE, suffix);
}

static int dir_sync(const char *dir)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = 0;

    if (fd < 0 || fsync(fd))
        err = -errno;
    if (fd >= 0)
        close(fd);
    return err;
}

/* On the disk, whole, or as if it had never been tried. */
static int append(struct bal_log *l, const char *text, size_t len)
{
    const ssize_t n = pwrite(l->fd, text, len, l->len);
    int err = n < 0 ? -errno : n != (ssize_t)len ? -ENOSPC : 0;

    if (!err && fsync(l->fd))
        err = -errno;
    if (err)
        (void)!ftruncate(l->fd, l->len);
    else
        l->len += (off_t)len;
    return err;
}

static char *line_of(const char *op, const struct entry *e, const char *value)
{
    const uint64_t losses = rpc_json_losses();
    json_t *o =
        json_pack("{s:s, s:s, s:I, s:s}", "op", op, "name", e->name, "id", (json_int_t)e->id, "boot", e->boot);
    char *text;

    if (o && value) {
        json_object_set_new(o, "time", json_integer(e->since));
        json_object_set_new(o, "old", json_string(e->old));
        json_object_set_new(o, "new", json_string(value));
        json_object_set_new(o, "why", json_string(e->reason));
    }
    text = losses == rpc_json_losses() ? rpc_json_text(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (text) {
        const size_t len = strlen(text);
        char *line = realloc(text, len + 2);

        if (line)
            memcpy(line + len, "\n", 2);
        else
            free(text);
        text = line;
    }
    return text;
}

static int entry_append(struct bal_log *l, const char *op, const struct entry *e, const char *value)
{
    char *line = line_of(op, e, value);
    const int err = line ? append(l, line, strlen(line)) : -ENOMEM;

    free(line);
    return err;
}

static int entry_end(struct bal_log *l, unsigned i)
{
    int err = entry_append(l, "end", &l->entry[i], NULL);

    if (!err)
        entry_remove(l, i);
    if (!err && !l->nr) { /* nothing to undo is an empty file */
        if (ftruncate(l->fd, 0) || fsync(l->fd))
            return -errno;
        l->len = 0;
    }
    return err;
}

static bool fd_current(int fd, const char *path)
{
    struct stat a, b;

    return !fstat(fd, &a) && !stat(path, &b) && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static int lock(const char *path, int *out, char why[static 256])
{
    int fd;

    for (;;) {
        if ((fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
            break;
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            const int err = errno == EWOULDBLOCK ? -EBUSY : -errno;

            close(fd);
            snprintf(why, 256, "%.150s: %s", path,
                     err == -EBUSY
                         ? "another 'corelane layout kernel' is at work: wait for it, or end its --watch"
                         : strerror(-err));
            return err;
        }
        if (fd_current(fd, path)) {
            *out = fd;
            return 0;
        }
        close(fd); /* replaced meanwhile */
    }
    snprintf(why, 256, "%.150s: %s", path, strerror(errno));
    return -errno;
}

/* The same in as few lines as it takes. Not a reason to fail: the file goes on growing until the next try. */
static void compact(struct bal_log *l)
{
    char path[4096], fresh[4096];
    const int old_fd = l->fd;
    const off_t old_len = l->len;
    int err = 0, fd;

    log_path(l->dir, "", path);
    log_path(l->dir, ".new", fresh);
    (void)unlink(fresh);
    if ((fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        return;
    l->fd = fd;
    l->len = 0;
    if (flock(fd, LOCK_EX | LOCK_NB))
        err = -errno;
    for (unsigned i = 0; i < l->nr && !err; i++)
        for (unsigned v = 0; v < l->entry[i].values && !err; v++)
            err = entry_append(l, "set", &l->entry[i], l->entry[i].value[v]);
    if (err || rename(fresh, path)) {
        close(fd);
        (void)unlink(fresh);
        l->fd = old_fd;
        l->len = old_len;
    } else {
        (void)dir_sync(l->dir);
        close(old_fd);
    }
    l->compact = 2 * l->len > FILE_COMPACT ? 2 * l->len : FILE_COMPACT;
}

static int file_read(int fd, char **out, size_t *len)
{
    struct stat st;
    size_t have = 0;
    ssize_t n = 0;
    char *text;

    if (fstat(fd, &st))
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
        return -EFBIG;
    if (!(text = malloc((size_t)st.st_size + 1)))
        return -ENOMEM;
    while (have < (size_t)st.st_size &&
           (n = pread(fd, text + have, (size_t)st.st_size - have, (off_t)have)) > 0)
        have += (size_t)n;
    if (n < 0) {
        n = -errno;
        free(text);
        return (int)n;
    }
    *out = text;
    *len = have;
    return 0;
}

static int load(struct bal_log *l, int fd, const char *path, char why[static 256])
{
    char *text = NULL, *nl, *p;
    unsigned line = 1;
    size_t len = 0;
    int err = file_read(fd, &text, &len);

    for (p = text; !err && p && (nl = memchr(p, '\n', len - (size_t)(p - text))); p = nl + 1, line++)
        err = line_take(l, p, (size_t)(nl - p));
    if (err == -EBADMSG)
        snprintf(why, 256, "%.150s, line %u: not what we write: mend it or take the line out", path, line - 1);
    else if (err)
        snprintf(why, 256, "%.150s: %s", path, strerror(-err));
    else
        l->len = p - text; /* what comes after the last line's end was cut off by a crash */
    free(text);
    return err;
}

int bal_log_open(struct bal_log **out, const char *dir, bool write, const struct bal_knobs *knobs,
                 char why[static 256])
{
    struct bal_log *l = calloc(1, sizeof(*l));
    char path[4096];
    int err, fd = -1;

    if (!l || !(l->dir = strdup(dir)) || strlen(dir) > sizeof(path) - 64) {
        snprintf(why, 256, "%s", strerror(ENOMEM));
        if (l)
            l->fd = -1;
        bal_log_close(l);
        return -ENOMEM;
    }
    l->fd = -1;
    l->knobs = knobs;
    l->compact = FILE_COMPACT;
    if (bal_sys_read(knobs->sys, "proc/sys/kernel/random/boot_id", l->boot, sizeof(l->boot), NULL) < 0)
        *l->boot = '\0';
    log_path(dir, "", path);
    if (write) {
        if (!(err = lock(path, &l->fd, why)) && (err = dir_sync(dir)))
            snprintf(why, 256, "%.150s: %s", dir, strerror(-err));
        fd = l->fd;
    } else if ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) < 0 && errno != ENOENT) {
        err = -errno;
        snprintf(why, 256, "%.150s: %s", path, strerror(-err));
    } else {
        err = 0;
    }
    if (!err && fd >= 0)
        err = load(l, fd, path, why);
    if (!write && fd >= 0)
        close(fd);
    if (err) {
        bal_log_close(l);
        return err;
    }
    if (write)
        (void)!ftruncate(l->fd, l->len); /* a piece of a line; if not, it is written over */
    if (write && l->len >= l->compact)
        compact(l);
    *out = l;
    return 0;
}

/* ---- settings -------------------------------------------------------------------------------------------- */

static bool is_ours(const struct entry *e, const char *now)
{
    for (unsigned i = 0; i < e->values; i++)
        if (bal_knob_same(e->kind, e->value[i], now))
            return true;
    return false;
}

static const char *want_of(const struct entry *e)
{
    return e->values ? e->value[e->values - 1] : e->old;
}

/* @now: what it says; "" where that is not known. */
static enum bal_log_state state_of(const struct bal_log *l, const struct entry *e,
                                   char now[static BAL_SYS_TEXT_MAX], int *err)
{
    uint64_t id;

    *now = '\0';
    *err = 0;
    if (strcmp(e->boot, l->boot))
        return BAL_LOG_GONE;
    *err = bal_knob_read(l->knobs, e->name, now, &id);
    if (*err == -ENOENT || *err == -ENODEV || (!*err && id != e->id)) {
        *now = '\0';
        return BAL_LOG_GONE;
    }
    if (*err == -EBADMSG)
        return BAL_LOG_DRIFT;
    if (*err) {
        *now = '\0';
        return BAL_LOG_FAILED;
    }
    if (bal_knob_same(e->kind, want_of(e), now))
        return BAL_LOG_HOLDS;
    if (bal_knob_same(e->kind, e->old, now))
        return BAL_LOG_BACK;
    return is_ours(e, now) ? BAL_LOG_EARLIER : BAL_LOG_DRIFT;
}

static struct bal_log_view view_of(const struct entry *e, enum bal_log_state state, int err, const char *now)
{
    return (struct bal_log_view){ e->kind, state, err, e->name, e->old, want_of(e), e->reason, now, e->since };
}

unsigned bal_log_each(const struct bal_log *l, bal_log_fn *fn, void *user)
{
    char now[BAL_SYS_TEXT_MAX];
    unsigned off = 0;

    for (unsigned i = 0; i < l->nr; i++) {
        int err;
        const enum bal_log_state state = state_of(l, &l->entry[i], now, &err);
        const struct bal_log_view v = view_of(&l->entry[i], state, err, now);

        off += state != BAL_LOG_HOLDS;
        if (fn)
            fn(user, &v);
    }
    return off;
}

int bal_log_look(const struct bal_log *l, const char *name)
{
    char now[BAL_SYS_TEXT_MAX];
    int err;

    for (unsigned i = 0; i < l->nr; i++) {
        if (!strcmp(l->entry[i].name, name)) {
            const enum bal_log_state state = state_of(l, &l->entry[i], now, &err);

            if (state != BAL_LOG_GONE) /* or what has the name now may be there besides */
                return (int)state;
        }
    }
    return -ENOENT;
}

int bal_log_prune(struct bal_log *l, char why[static 256])
{
    char now[BAL_SYS_TEXT_MAX];
    int err;

    for (unsigned i = l->nr; i-- > 0;) {
        if (state_of(l, &l->entry[i], now, &err) == BAL_LOG_GONE && (err = entry_end(l, i))) {
            snprintf(why, 256, "%.150s/%s: %s", l->dir, BAL_LOG_FILE, strerror(-err));
            return err;
        }
    }
    if (l->len >= l->compact)
        compact(l);
    return 0;
}

/* It says in the journal what is going to be; then it may be. */
static int announce(struct bal_log *l, const char *name, uint64_t id, const char *old, const char *value,
                    const char *reason)
{
    const enum bal_knob kind = (enum bal_knob)bal_knob_of(name);
    const struct entry *e = entry_find(l, name, id, l->boot);
    struct entry line = { .kind = kind,
                          .id = id,
                          .name = (char *)name,
                          .old = (char *)(e ? e->old : old),
                          .reason = (char *)reason,
                          .since = e ? e->since : (long long)time(NULL) };
    int err;

    snprintf(line.boot, sizeof(line.boot), "%s", l->boot);
    if ((err = entry_append(l, "set", &line, value)))
        return err;
    /* Without memory the journal announces what is not going to be: to undo that is to do nothing. */
    return learn(l, kind, name, id, l->boot, line.since, line.old, value, reason);
}

/* The kernel refused the value. What it has is still what it had, so a change that never was is forgotten. */
static void retract(struct bal_log *l, const char *name, uint64_t id, const char *before)
{
    const struct entry *e = entry_find(l, name, id, l->boot);

    if (e->values == 1)
        (void)entry_end(l,
                        (unsigned)(e - l->entry)); /* if not: undo finds its old value there, and is content */
    else
        (void)announce(l, name, id, e->old, before, "as it was");
}

int bal_log_set(struct bal_log *l, const char *name, const char *value, const char *reason,
                char why[static 256])
{
    const int kind = bal_knob_of(name);
    char now[BAL_SYS_TEXT_MAX], after[BAL_SYS_TEXT_MAX];
    const struct entry *e;
    uint64_t id, id2;
    int err;

    if (kind < 0 || !bal_knob_valid((enum bal_knob)kind, value) || l->fd < 0) {
        snprintf(why, 256, "%.100s: nothing that may be set to '%.50s'", name, value);
        return -EINVAL;
    }
    if ((err = bal_knob_read(l->knobs, name, now, &id))) {
        snprintf(why, 256, "/%.150s: %s", name, strerror(-err));
        return err;
    }
    e = entry_find(l, name, id, l->boot);
    if (e && !is_ours(e, now) && !bal_knob_same(e->kind, e->old, now)) {
        snprintf(why, 256, "/%.100s: somebody else has set it to '%.50s' since: left alone", name, now);
        return -EEXIST;
    }
    if (bal_knob_same((enum bal_knob)kind, now, value))
        return 0;
    if ((err = announce(l, name, id, now, value, reason))) {
        snprintf(why, 256, "%.100s/%s: %s: nothing was changed", l->dir, BAL_LOG_FILE, strerror(-err));
        return err;
    }
    if ((err = bal_knob_write(l->knobs, name, value, id))) {
        retract(l, name, id, now);
        snprintf(why, 256, "/%.150s: '%.50s' was refused: %s", name, value, strerror(-err));
        return err;
    }
    if (!bal_knob_read(l->knobs, name, after, &id2) && id2 == id &&
        !bal_knob_same((enum bal_knob)kind, after, value)) {
        (void)announce(l, name, id, now, after, reason); /* it is ours all the same, to be undone */
        snprintf(why, 256, "/%.100s: the kernel made '%.50s' of '%.50s'", name, after, value);
        return -EIO;
    }
    if (l->len >= l->compact)
        compact(l);
    return 1;
}

/* One setting. Return: its state afterwards; it is to be forgotten with BACK and GONE. */
static enum bal_log_state put_back(const struct bal_log *l, const struct entry *e, bool force,
                                   char now[static BAL_SYS_TEXT_MAX], int *err)
{
    const enum bal_log_state state = state_of(l, e, now, err);
    char after[BAL_SYS_TEXT_MAX];
    uint64_t id;

    if (state == BAL_LOG_GONE || state == BAL_LOG_BACK || state == BAL_LOG_FAILED)
        return state;
    if (state == BAL_LOG_DRIFT && !force)
        return state;
    *err = bal_knob_write(l->knobs, e->name, e->old, e->id);
    if (*err == -ENOENT || *err == -ESTALE)
        return BAL_LOG_GONE;
    if (!*err && !(*err = bal_knob_read(l->knobs, e->name, after, &id)) &&
        !bal_knob_same(e->kind, after, e->old))
        *err = -EIO;
    return *err ? BAL_LOG_FAILED : BAL_LOG_BACK;
}

/* And forgets it where it is back. Return: the state, or -errno with @why: the journal cannot be written. */
static int put_back_at(struct bal_log *l, unsigned i, bool force, bal_log_fn *fn, void *user,
                       char why[static 256])
{
    char now[BAL_SYS_TEXT_MAX];
    int err;
    const enum bal_log_state state = put_back(l, &l->entry[i], force, now, &err);
    const struct bal_log_view v = view_of(&l->entry[i], state, err, now);

    if (fn)
        fn(user, &v);
    if (state != BAL_LOG_BACK && state != BAL_LOG_GONE)
        return (int)state;
    if ((err = entry_end(l, i))) {
        snprintf(why, 256, "%.150s/%s: %s", l->dir, BAL_LOG_FILE, strerror(-err));
        return err;
    }
    return (int)state;
}

int bal_log_restore(struct bal_log *l, const char *name, bool force, char why[static 256])
{
    int rc = -ENOENT;

    snprintf(why, 256, "/%.150s: not in the journal", name);
    for (unsigned i = l->nr; i-- > 0 && rc != BAL_LOG_BACK;)
        if (!strcmp(l->entry[i].name, name) && (rc = put_back_at(l, i, force, NULL, NULL, why)) < 0)
            return rc;
    return rc;
}

int bal_log_undo(struct bal_log *l, bool force, bal_log_fn *fn, void *user, char why[static 256])
{
    for (unsigned i = l->nr; i-- > 0;) {
        const int rc = put_back_at(l, i, force, fn, user, why);

        if (rc < 0)
            return rc;
    }
    return (int)l->nr;
}
