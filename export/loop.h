/*
 * loop.h - a loop device over a file of ours; all of it blocks, and the file's server is our own core: jobs
 * only
 */
#ifndef CORELANE_EXPORT_LOOP_H
#define CORELANE_EXPORT_LOOP_H

#include "export/export_internal.h"

struct loop {
    char file[PATH_MAX];                    /* as the kernel names it; empty: no device */
};

/* Sets e->path to the device on success. Return: 0, or -errno with a note and nothing left behind. */
int loop_attach(struct exp *e, struct loop *l, const char *file);
/* Claims and takes away e->path, unless somebody did and it stands over another file now. Return: 0, or
 * -errno with a note and the device as before. */
int loop_detach(struct exp *e, struct loop *l);
/* The file has a new size. */
int loop_resize(struct exp *e);
/* Takes away the loop devices over files below @dir, whoever has them open. */
void loop_cleanup(const char *dir);

#endif
