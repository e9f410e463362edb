/*
 * opt.h - command lines: one table of commands and options drives parsing, help and messages
 *
 * An option's row says what it is called, what it takes and what it means. The parser checks kind and bounds,
 * so that every refusal reads alike and ends in status 2.
 */
#ifndef CORELANE_COMMON_OPT_H
#define CORELANE_COMMON_OPT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum opt_kind {
    OPT_FLAG,
    OPT_TEXT,
    OPT_NUM,  /* lo..hi */
    OPT_SIZE, /* bytes with k M G T; lo..hi */
    OPT_WORD, /* one of the words in arg, between '|' */
    OPT_CORES,
};

struct opt {
    const char *name; /* without dashes; NULL ends a set */
    char letter;      /* 0: none */
    enum opt_kind kind;
    bool many;        /* may be given more than once */
    const char *arg;  /* "DIR", "poll|adaptive|interrupt"; NULL for a flag */
    uint64_t lo, hi;  /* bounds of OPT_NUM and OPT_SIZE */
    const char *key;  /* the parameter of the daemon's method it becomes; NULL: none */
    const char *help; /* one line */
};

#define OPT_SETS_MAX 6
struct opts;
struct cmd {
    const char *words;    /* "target create"; "" for a program that is one command; NULL ends a table */
    const char *operands; /* "IQN [SIZE]"; those in brackets may be left out; NULL: none */
    const char *help;     /* one line */
    const char *more;     /* paragraphs for --help; may be NULL */
    const struct opt *sets[OPT_SETS_MAX];                    /* of options, up to a NULL */
    int (*run)(const struct cmd *cmd, const struct opts *o); /* returns the exit status */
    const void *data;                                        /* for run's own use */
};

#define OPT_GIVEN_MAX    64
#define OPT_OPERANDS_MAX 4
struct opts { /* a parsed command line; texts are argv's */
    const char *prog;
    const struct cmd *cmd;
    struct opt_given {
        const struct opt *opt;
        const char *text;
        uint64_t num; /* of OPT_NUM and OPT_SIZE */
    } given[OPT_GIVEN_MAX];
    unsigned given_nr;
    const char *operand[OPT_OPERANDS_MAX];
    unsigned operand_nr;
};

#define EXIT_USAGE 2

/* Options that every program and command has: --help, --version. */
extern const struct opt opt_common[];

/* Reads argv[0..argc-1] (what follows the command's words) against the command's table.
 * Return: -1 to go on; else the status to exit with, everything that is to be said having been said. */
int opt_parse(struct opts *out, const char *prog, const struct cmd *cmd, int argc, char **argv);
void opt_help(FILE *to, const char *prog, const struct cmd *cmd);
/* "prog: message\nSee 'prog words --help'." on stderr. Return: EXIT_USAGE. */
int opt_usage(const char *prog, const struct cmd *cmd, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Operand @i, where it is given, against @words (as an OPT_WORD's); @name is what the help calls it. Return: -1 when it is good. */
int opt_operand_word(const struct opts *o, unsigned i, const char *name, const char *words);

/* The option's last value, or NULL where it was not given. */
const struct opt_given *opt_get(const struct opts *o, const char *name);
bool opt_has(const struct opts *o, const char *name);
const char *opt_text(const struct opts *o, const char *name, const char *none);
uint64_t opt_num(const struct opts *o, const char *name, uint64_t none);

#endif
