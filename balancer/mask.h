/*
 * mask.h - sets of CPUs as the kernel writes them: "ff", "00000001,00000000", "0-3,8"
 *
 * Pure. What comes from a file may say anything: it is refused, never cut short.
 */
#ifndef CORELANE_BALANCER_MASK_H
#define CORELANE_BALANCER_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BAL_MASK_CPUS 8192 /* CONFIG_NR_CPUS of any kernel we know */
struct bal_mask {
    uint64_t word[BAL_MASK_CPUS / 64];
};

#define BAL_MASK_TEXT_MAX (BAL_MASK_CPUS / 32 * 9 + 1) /* 8 digits and a comma for 32 CPUs */

/* Hexadecimal words of 32 bits, most significant first, between commas: the form of a sysfs cpumask. Groups may be
 * shorter than 8 digits, as the kernel takes them. Blanks at the end are left out. Return: 0, -EINVAL: it is no mask,
 * -ERANGE: a CPU from BAL_MASK_CPUS on. */
int bal_mask_parse(struct bal_mask *out, const char *text);
/* "0-3,8"; the empty text is the empty set. Return as above. */
int bal_mask_parse_list(struct bal_mask *out, const char *text);
/* As few words as the highest CPU needs, the first without leading zeroes: every kernel takes that, whatever its number
 * of CPUs. */
void bal_mask_format(const struct bal_mask *m, char out[static BAL_MASK_TEXT_MAX]);
/* "0-3,8"; cut off with "..." where @len is too little. "none" for the empty set. */
void bal_mask_format_list(const struct bal_mask *m, char *out, size_t len);

void bal_mask_set(struct bal_mask *m, int cpu); /* a CPU out of bounds is left out */
bool bal_mask_has(const struct bal_mask *m, int cpu);
bool bal_mask_equal(const struct bal_mask *a, const struct bal_mask *b);
void bal_mask_or(struct bal_mask *m, const struct bal_mask *more);
unsigned bal_mask_count(const struct bal_mask *m);
int bal_mask_next(const struct bal_mask *m, int from); /* the first from @from on; -1: none */

#endif
