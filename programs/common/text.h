/*
 * text.h - sizes, core lists and words as people type and read them
 */
#ifndef CORELANE_COMMON_TEXT_H
#define CORELANE_COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "512", "4k", "10G", "1T": bytes, suffixes k M G T of 1024 in either case. Return: 0, -EINVAL, or -ERANGE
 * above 2^63 - 1. */
int size_parse(const char *text, uint64_t *out);
#define SIZE_STR_MAX 24
/* "10G", "1.5T", "512": exact where a suffix divides it, else with one decimal. */
void size_format(uint64_t bytes, char out[static SIZE_STR_MAX]);

/* Decimal, no sign, no blanks. Return: 0, -EINVAL or -ERANGE. */
int number_parse(const char *text, uint64_t *out);

struct bal_topo;
#define CORES_MAX 1024
struct cores {
    int core[CORES_MAX];
    unsigned nr;
};
/* "0,2-5": each once, in the order given, all of them among those this process may run on.
 * Return: true, or false with @why saying which is wrong and which there are. */
bool cores_parse(const char *text, struct cores *out, char why[static 256]);
/* All that this process may run on. */
void cores_allowed(struct cores *out);
/* What a daemon uses that was told nothing: of these, those that are not isolated, unless all are. @topo: NULL: all allowed. */
void cores_default(struct cores *out, const struct bal_topo *topo);
/* "0-3,8" into @out. */
void cores_format(const struct cores *c, char *out, size_t len);

/* The word of a NULL-terminated list that @word was probably meant to be, or NULL. */
const char *word_nearest(const char *word, const char *const *list);

#endif
