/*
 * journal.c - the journal: lines are gathered while a write is under way and go out with the next
 *
 * Neither file is ever renamed: which one is the newer is told by the numbers in its lines.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/journal.h"
#include "reactor/rt_log.h"
#include "rpc/json.h"

#define PENDING_MAX (1u << 20) /* bytes that wait for the disk; more is not remembered */
#define FILES       2u

struct journal {
    struct rt *rt;
    const char *run_dir;
    size_t file_max;
    struct rt_file *file[FILES]; /* NULL: nothing can be written */
    unsigned at;                 /* the one that is written to */
    uint64_t size;               /* of that one, bytes */
    uint64_t seq;                /* of the last entry */
    bool told;                   /* that something is lost */

    char *pending; /* lines for the next write */
    size_t pending_len;
    char *out; /* those of the one under way; NULL: none is */
    size_t out_len;
    struct iovec iov;
    struct rt_op op;
    struct rt_link waits, next_waits; /* for the write under way; for the next */
};

static void lost(struct journal *j, const char *why)
{
    if (!j->told)
        rt_log(RT_WARN, "%s/layout.journal: %s: 'layout explain' will not tell everything", j->run_dir, why);
    j->told = true;
}

static void file_path(const struct journal *j, unsigned n, char *out, size_t len)
{
    snprintf(out, len, "%s/layout.journal.%u", j->run_dir, n);
}

/* ---- reading --------------------------------------------------------------------------------------------- */

static void lines_each(const char *text, size_t len, void (*fn)(void *arg, json_t *entry, json_int_t seq),
                       void *arg)
{
    while (len) {
        const char *end = memchr(text, '\n', len);
        const size_t n = end ? (size_t)(end - text) : len;
        json_t *e = NULL, *seq;

        if (n && !rpc_json_read(&e, text, n, 0, NULL)) {
            seq = json_object_get(e, "seq");
            if (json_is_integer(seq) && json_integer_value(seq) > 0)
                fn(arg, e, json_integer_value(seq));
            json_decref(e);
        }
        text += n + (end ? 1 : 0);
        len -= n + (end ? 1 : 0);
    }
}

/* Both files may be read while one is written: the last line may be cut off then, and is one that was added later. */
static int file_load(const struct journal *j, unsigned n, char **text, size_t *len)
{
    char path[512];

    file_path(j, n, path, sizeof(path));
    return rt_load(path, j->file_max + PENDING_MAX + 1, text, len);
}

struct newest {
    json_int_t seq;
};

static void newest_line(void *arg, json_t *entry, json_int_t seq)
{
    struct newest *n = arg;

    if (seq > n->seq)
        n->seq = seq;
}

/* ---- set-up ---------------------------------------------------------------------------------------------- */

static int files_open(struct journal *j)
{
    struct rt_file_info info;
    char path[512];
    int err = 0;

    for (unsigned i = 0; i < FILES && !err; i++) {
        file_path(j, i, path, sizeof(path));
        err = rt_file_open(path, RT_FILE_WRITE | RT_FILE_CREATE, &j->file[i]);
        if (!err && i == j->at && !(err = rt_file_stat(j->file[i], &info)))
            j->size = info.size;
    }
    return err;
}

static void files_close(struct journal *j)
{
    for (unsigned i = 0; i < FILES; i++) {
        rt_file_close(j->file[i]);
        j->file[i] = NULL;
    }
}

static void files_look(struct journal *j)
{
    struct newest n[FILES] = { { 0 } };
    char *text;
    size_t len;

    for (unsigned i = 0; i < FILES; i++) {
        if (file_load(j, i, &text, &len))
            continue;
        lines_each(text, len, newest_line, &n[i]);
        free(text);
    }
    j->at = n[1].seq > n[0].seq;
    j->seq = (uint64_t)n[j->at].seq;
}

int journal_new(struct journal **out, struct rt *rt, const char *run_dir, size_t file_max)
{
    struct journal *j = calloc(1, sizeof(*j));
    int err;

    if (!j)
        return -ENOMEM;
    j->rt = rt;
    j->run_dir = run_dir;
    j->file_max = file_max ? file_max : JOURNAL_FILE_MAX;
    rt_list_init(&j->waits);
    rt_list_init(&j->next_waits);
    files_look(j);
    if ((err = files_open(j))) {
        files_close(j);
        lost(j, strerror(-err));
    }
    *out = j;
    return 0;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    files_close(j);
    free(j->pending);
    free(j->out);
    free(j);
}

/* ---- writing --------------------------------------------------------------------------------------------- */

static void waits_call(struct rt_link *waits)
{
    struct rt_link *l, mine;

    rt_list_init(&mine);
    while ((l = rt_list_pop(waits)))
        rt_list_push(&mine, l);
    while ((l = rt_list_pop(&mine))) {
        struct journal_wait *w = rt_list_entry(l, struct journal_wait, link);

        w->fn(w);
    }
}

static void write_next(struct journal *j);

static void written(struct rt_op *op, int res)
{
    struct journal *j = container_of(op, struct journal, op);

    if (res < 0 || (size_t)res != j->out_len)
        lost(j, res < 0 ? strerror(-res) : "no space left");
    if (res > 0) /* half a line too: it is passed over when it is read */
        j->size += (uint64_t)res;
    free(j->out);
    j->out = NULL;
    waits_call(&j->waits);
    if (!j->out) /* nobody of those began one */
        write_next(j);
}

/* What is in the other file is older than all that is in this one. */
static void files_turn(struct journal *j)
{
    const unsigned other = (j->at + 1) % FILES;
    const int err = rt_file_set_size(j->file[other], 0);

    if (err) {
        lost(j, strerror(-err));
        return;
    }
    j->at = other;
    j->size = 0;
}

static void write_next(struct journal *j)
{
    struct rt_link *l;

    while ((l = rt_list_pop(&j->next_waits)))
        rt_list_push(&j->waits, l);
    if (!j->pending) {
        waits_call(&j->waits);
        return;
    }
    j->out = j->pending;
    j->out_len = j->pending_len;
    j->pending = NULL;
    j->pending_len = 0;
    if (j->size >= j->file_max)
        files_turn(j);
    j->iov = (struct iovec){ j->out, j->out_len };
    j->op.done = written;
    rt_file_write(j->rt, j->file[j->at], &j->op, &j->iov, 1, j->size);
}

/* Each line begins with its own end of line before it: what a crash cut off is no part of it. */
static bool pending_add(struct journal *j, const char *line)
{
    const size_t len = strlen(line);
    char *more;

    if (len + 2 > PENDING_MAX - j->pending_len || !(more = realloc(j->pending, j->pending_len + len + 2)))
        return false;
    j->pending = more;
    more[j->pending_len] = '\n';
    memcpy(more + j->pending_len + 1, line, len);
    more[j->pending_len + 1 + len] = '\n';
    j->pending_len += len + 2;
    return true;
}

void journal_add(struct journal *j, json_t *entry)
{
    const uint64_t losses = rpc_json_losses();
    char *line = NULL;

    if (j->file[0]) {
        json_object_set_new(entry, "seq", json_integer((json_int_t)++j->seq));
        json_object_set_new(entry, "t", json_integer((json_int_t)rt_wall_s(j->rt)));
        line = rpc_json_losses() == losses ? rpc_json_text(entry, JSON_COMPACT) : NULL;
        if (!line || !pending_add(j, line))
            lost(j, "no memory");
        free(line);
    }
    json_decref(entry);
    if (j->pending && !j->out)
        write_next(j);
}

void journal_flush(struct journal *j, struct journal_wait *w)
{
    rt_list_push(j->pending ? &j->next_waits : &j->waits, &w->link);
    if (!j->out)
        write_next(j);
}

/* ---- finding --------------------------------------------------------------------------------------------- */

static void find_line(void *arg, json_t *entry, json_int_t seq)
{
    struct journal_find *f = arg;

    if (!f->match(entry, f->arg))
        return;
    json_array_append(f->found, entry);
    if (json_array_size(f->found) > f->last)
        json_array_remove(f->found, 0);
}

static void find_run(struct rt_work *w)
{
    struct journal_find *f = container_of(w, struct journal_find, work);
    const struct journal *j = f->journal;
    const uint64_t losses = rpc_json_losses();
    struct newest n[FILES] = { { 0 } };
    char *text[FILES] = { NULL };
    size_t len[FILES] = { 0 };
    bool bad = false;
    unsigned first;

    f->found = json_array();
    for (unsigned i = 0; i < FILES; i++) {
        bad |= file_load(j, i, &text[i], &len[i]) == -ENOMEM;
        if (text[i])
            lines_each(text[i], len[i], newest_line, &n[i]);
    }
    first = n[0].seq > n[1].seq; /* the older of the two */
    for (unsigned i = 0; i < FILES; i++)
        if (text[(first + i) % FILES])
            lines_each(text[(first + i) % FILES], len[(first + i) % FILES], find_line, f);
    for (unsigned i = 0; i < FILES; i++)
        free(text[i]);
    if (bad || rpc_json_losses() != losses) {
        json_decref(f->found);
        f->found = NULL;
    }
}

static void find_done(struct rt_work *w)
{
    struct journal_find *f = container_of(w, struct journal_find, work);

    f->done(f);
}

static void find_begin(struct journal_wait *w)
{
    struct journal_find *f = container_of(w, struct journal_find, wait);

    f->work.run = find_run;
    f->work.done = find_done;
    rt_work(f->journal->rt, &f->work);
}

void journal_find(struct journal *j, struct journal_find *f)
{
    f->journal = j;
    f->found = NULL;
    f->wait.fn = find_begin;
    journal_flush(j, &f->wait);
}
