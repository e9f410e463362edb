/*
 * fs.c - names on a simulated machine: directories, small files whole, unix sockets' places
 *
 * All of this is stable at once: a save is a rename behind a sync. There are no links; a path is from the root whether
 * or not it begins with a slash.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/sim/disk.h"

struct sim_node {
    struct sim_node *parent, *child, *next; /* first of its entries; the next of its parent's */
    char *name;
    enum rt_kind kind;
    struct inode *inode;                    /* of a file */
};

/* ---- walking ------------------------------------------------------------------------------------------ */

void sim_fs_init(struct sim_machine *m)
{
    m->root = sim_zalloc(sizeof(*m->root));
    m->root->kind = RT_KIND_DIR;
    m->root->name = sim_copy_text("");
}

static void node_free(struct sim_node *n)
{
    while (n->child) {
        struct sim_node *c = n->child;

        n->child = c->next;
        node_free(c);                       /* as deep as a path is long */
    }
    sim_inode_unref(n->inode);
    sim_release(n->name);
    sim_release(n);
}

void sim_fs_free(struct sim_machine *m)
{
    node_free(m->root);
}

static struct sim_node *child_find(const struct sim_node *dir, const char *name, size_t len)
{
    struct sim_node *n = dir->child;

    while (n && (strncmp(n->name, name, len) || n->name[len]))
        n = n->next;
    return n;
}

static struct sim_node *child_add(struct sim_node *dir, const char *name, size_t len, enum rt_kind kind)
{
    struct sim_node *n = sim_zalloc(sizeof(*n)), **at = &dir->child;

    n->parent = dir;
    n->kind = kind;
    n->name = sim_zalloc(len + 1);
    memcpy(n->name, name, len);
    while (*at)
        at = &(*at)->next;
    *at = n;
    return n;
}

static void child_del(struct sim_node *n)
{
    struct sim_node **at = &n->parent->child;

    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    node_free(n);
}

/* The next component of a path, *at moved past it. Return: its length; 0: that was all. */
static size_t component(const char **at, const char **name)
{
    size_t len;

    *at += strspn(*at, "/");
    len = strcspn(*at, "/");
    *name = *at;
    *at += len;
    return len;
}

struct place {                              /* what a path leads to */
    struct sim_node *dir, *node;            /* NULL node: the last component is not there (yet) */
    const char *name;
    size_t len;
};

/* Return: 0 (the node may be missing), -ENOENT or -ENOTDIR on the way to it, -ENAMETOOLONG, -EINVAL. */
static int walk(const struct sim_machine *m, const char *path, struct place *out)
{
    const char *at = path, *name;
    size_t len;

    *out = (struct place){ .node = m->root, .name = "" };
    if (!*path)
        return -ENOENT;
    while ((len = component(&at, &name))) {
        if (!out->node)
            return -ENOENT;
        if (out->node->kind != RT_KIND_DIR)
            return -ENOTDIR;
        if (len > NAME_MAX)
            return -ENAMETOOLONG;
        if (len == 1 && *name == '.')
            continue;
        out->dir = out->node;
        out->name = name;
        out->len = len;
        out->node = len == 2 && !strncmp(name, "..", 2) ? (out->dir->parent ? out->dir->parent : m->root)
                                                         : child_find(out->dir, name, len);
    }
    return 0;
}

struct inode *sim_fs_inode(struct sim_machine *m, const char *path, bool create, int *err)
{
    struct place at;

    if ((*err = walk(m, path, &at)))
        return NULL;
    if (!at.node && !create) {
        *err = -ENOENT;
        return NULL;
    }
    if (!at.node) {
        at.node = child_add(at.dir, at.name, at.len, RT_KIND_FILE);
        at.node->inode = sim_inode_new(m);
    }
    if (at.node->kind != RT_KIND_FILE) {
        *err = -EINVAL;
        return NULL;
    }
    return at.node->inode;
}

static void each_inode(struct sim_node *n, void (*fn)(void *arg, struct inode *i), void *arg)
{
    if (n->inode)
        fn(arg, n->inode);
    for (struct sim_node *c = n->child; c; c = c->next)
        each_inode(c, fn, arg);
}

void sim_fs_each_inode(struct sim_machine *m, void (*fn)(void *arg, struct inode *n), void *arg)
{
    each_inode(m->root, fn, arg);
}

bool sim_fs_faulty(const struct sim_machine *m, const char *path)
{
    return !m->fault_prefix || !strncmp(path, m->fault_prefix, strlen(m->fault_prefix));
}

/* The machine of the program that calls. */
static struct sim_machine *here(void)
{
    assert(sim_cur);                        /* a program's own call */
    return sim_cur->machine;
}

/* ---- whole small files -------------------------------------------------------------------------------- */

static int load(struct sim_machine *m, const char *path, size_t len_max, char **out, size_t *len)
{
    struct place at;
    char *buf;
    int err;

    if ((err = walk(m, path, &at)))
        return err;
    if (!at.node)
        return -ENOENT;
    if (at.node->kind != RT_KIND_FILE)
        return at.node->kind == RT_KIND_DIR ? -EISDIR : -EINVAL;
    if (at.node->inode->size > len_max)
        return -EFBIG;
    if (!(buf = malloc(at.node->inode->size + 1)))
        return -ENOMEM;
    sim_inode_read(at.node->inode, buf, at.node->inode->size, 0, false);
    buf[at.node->inode->size] = '\0';
    *out = buf;
    if (len)
        *len = at.node->inode->size;
    return 0;
}

static int save(struct sim_machine *m, const char *path, const void *data, size_t len)
{
    struct place at;
    struct inode *n;
    int err;

    if ((err = walk(m, path, &at)))
        return err;
    if (!at.dir || path[strlen(path) - 1] == '/')
        return -EINVAL;
    if (at.node && at.node->kind == RT_KIND_DIR)
        return -EISDIR;
    n = sim_inode_new(m);
    if ((err = sim_inode_write(n, data, len, 0))) {
        sim_inode_unref(n);
        return err;
    }
    sim_inode_sync(n);
    if (!at.node)
        at.node = child_add(at.dir, at.name, at.len, RT_KIND_FILE);
    at.node->kind = RT_KIND_FILE;
    sim_inode_unref(at.node->inode);        /* who has the old one open keeps it */
    at.node->inode = n;
    return 0;
}

int rt_load(const char *path, size_t len_max, char **out, size_t *len)
{
    struct sim_machine *m = here();

    if (sim_fs_faulty(m, path) && sim_rng_chance(&m->w->disk_rng, m->disk.load_ppm)) {
        sim_fault_note(m->w, SIM_FAULT_LOAD, m, NULL);
        return -EIO;
    }
    return load(m, path, len_max, out, len);
}

int rt_save(const char *path, const void *data, size_t len, unsigned mode)
{
    struct sim_machine *m = here();

    if (sim_fs_faulty(m, path) && sim_rng_chance(&m->w->disk_rng, m->disk.save_ppm)) {
        sim_fault_note(m->w, SIM_FAULT_SAVE, m, NULL);
        return sim_rng_chance(&m->w->disk_rng, 500000) ? -EIO : -ENOSPC;
    }
    return save(m, path, data, len);
}

int rt_remove(const char *path)
{
    struct place at;
    int err = walk(here(), path, &at);

    if (err)
        return err == -ENOENT ? 0 : err;
    if (!at.node)
        return 0;
    if (at.node->kind == RT_KIND_DIR)
        return -EISDIR;
    child_del(at.node);
    return 0;
}

/* ---- directories -------------------------------------------------------------------------------------- */

static int mkdirs(struct sim_machine *m, const char *path, size_t path_len)
{
    struct sim_node *n = m->root;
    const char *at = path, *name;
    size_t len;

    while ((len = component(&at, &name)) && at <= path + path_len) {
        struct sim_node *c = child_find(n, name, len);

        if (len > NAME_MAX)
            return -ENAMETOOLONG;
        if (c && c->kind != RT_KIND_DIR)
            return -ENOTDIR;
        n = c ? c : child_add(n, name, len, RT_KIND_DIR);
    }
    return 0;
}

int rt_mkdirs(const char *path, unsigned mode)
{
    return *path ? mkdirs(here(), path, strlen(path)) : -EINVAL;
}

int rt_rmdir(const char *path)
{
    struct place at;
    int err = walk(here(), path, &at);

    if (err)
        return err;
    if (!at.node)
        return -ENOENT;
    if (at.node->kind != RT_KIND_DIR)
        return -ENOTDIR;
    if (at.node->child)
        return -ENOTEMPTY;
    if (!at.node->parent)
        return -EBUSY;
    child_del(at.node);
    return 0;
}

int rt_dir_each(const char *path, void (*fn)(void *arg, const char *name), void *arg)
{
    struct place at;
    int err = walk(here(), path, &at);

    if (err)
        return err;
    if (!at.node)
        return -ENOENT;
    if (at.node->kind != RT_KIND_DIR)
        return -ENOTDIR;
    for (const struct sim_node *n = at.node->child; n; n = n->next)
        fn(arg, n->name);
    return 0;
}

int rt_kind(const char *path)
{
    struct place at;
    int err = walk(here(), path, &at);

    if (err)
        return err;
    return at.node ? (int)at.node->kind : -ENOENT;
}

/* ---- unix sockets' names ------------------------------------------------------------------------------ */

int sim_fs_socket(struct sim_machine *m, const char *path)
{
    struct place at;
    int err = walk(m, path, &at);

    if (err)
        return err;
    if (at.node)                            /* a stale one may be taken over: no listener has it */
        return at.node->kind == RT_KIND_OTHER ? 0 : -EADDRINUSE;
    child_add(at.dir, at.name, at.len, RT_KIND_OTHER);
    return 0;
}

void sim_fs_unsocket(struct sim_machine *m, const char *path)
{
    struct place at;

    if (!walk(m, path, &at) && at.node && at.node->kind == RT_KIND_OTHER)
        child_del(at.node);
}

/* ---- from outside ------------------------------------------------------------------------------------- */

static void parents_make(struct sim_machine *m, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (slash && mkdirs(m, path, (size_t)(slash - path)))
        assert(!"a file stands where a directory is wanted");
}

void sim_fs_save(struct sim_machine *m, const char *path, const void *data, size_t len)
{
    parents_make(m, path);
    if (save(m, path, data, len))
        assert(!"the file cannot be made");
}

int sim_fs_load(struct sim_machine *m, const char *path, char **out, size_t *len)
{
    return load(m, path, SIZE_MAX / 2, out, len);
}

static struct inode *made(struct sim_machine *m, const char *path, uint64_t size)
{
    struct inode *n;
    int err;

    parents_make(m, path);
    n = sim_fs_inode(m, path, true, &err);
    assert(n);
    sim_inode_resize(n, 0);
    n->size = size;
    return n;
}

void sim_fs_make(struct sim_machine *m, const char *path, uint64_t size)
{
    (void)made(m, path, size);
}

void sim_fs_make_block(struct sim_machine *m, const char *path, uint64_t size, uint32_t block_len)
{
    made(m, path, size)->block_len = block_len;
}

int sim_fs_peek(struct sim_machine *m, const char *path, void *buf, size_t len, uint64_t off, bool stable)
{
    int err;
    const struct inode *n = sim_fs_inode(m, path, false, &err);

    if (!n)
        return -ENOENT;
    sim_inode_read(n, buf, len, off, stable);
    return 0;
}
