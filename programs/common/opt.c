/*
 * opt.c - reads command lines and prints help, both from the commands' tables
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "corelane.h"
#include "programs/common/opt.h"
#include "programs/common/text.h"

#define HELP_COLUMN 30

const struct opt opt_common[] = {
    { "help", 'h', OPT_FLAG, .help = "print this and exit" },
    { "version", 'V', OPT_FLAG, .help = "print the version and exit" },
    { 0 },
};

/* Walks a command's options: for (const struct opt *o = NULL; (o = opt_next(cmd, o));) */
static const struct opt *opt_next(const struct cmd *cmd, const struct opt *at)
{
    bool found = !at;

    for (unsigned s = 0; s < OPT_SETS_MAX && cmd->sets[s]; s++) {
        for (const struct opt *o = cmd->sets[s]; o->name; o++) {
            if (found)
                return o;
            found = o == at;
        }
    }
    return NULL;
}

static void name_print(FILE *to, const char *prog, const struct cmd *cmd)
{
    fprintf(to, "%s%s%s", prog, *cmd->words ? " " : "", cmd->words);
}

int opt_usage(const char *prog, const struct cmd *cmd, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", prog);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs("\nSee '", stderr);
    name_print(stderr, prog, cmd);
    fputs(" --help'.\n", stderr);
    return EXIT_USAGE;
}

/* ---- help ------------------------------------------------------------------------------------------------ */

void opt_help(FILE *to, const char *prog, const struct cmd *cmd)
{
    fputs("usage: ", to);
    name_print(to, prog, cmd);
    fprintf(to, "%s%s [OPTION]...\n\n%s\n", cmd->operands ? " " : "", cmd->operands ? cmd->operands : "",
            cmd->help);
    if (cmd->more)
        fprintf(to, "\n%s\n", cmd->more);
    fputs("\noptions:\n", to);
    for (const struct opt *o = NULL; (o = opt_next(cmd, o));) {
        char left[80];
        int n = snprintf(left, sizeof(left), "  %c%c%s--%s%s%s%s", o->letter ? '-' : ' ',
                         o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name, o->arg ? " " : "",
                         o->arg ? o->arg : "", o->many ? "..." : "");

        if (n >= HELP_COLUMN)
            fprintf(to, "%s\n%*s%s\n", left, HELP_COLUMN, "", o->help);
        else
            fprintf(to, "%-*s%s\n", HELP_COLUMN, left, o->help);
    }
}

/* ---- parsing --------------------------------------------------------------------------------------------- */

static const struct opt *opt_find(const struct cmd *cmd, const char *name, size_t len)
{
    for (const struct opt *o = NULL; (o = opt_next(cmd, o));)
        if (strlen(o->name) == len && !memcmp(o->name, name, len))
            return o;
    return NULL;
}

static const struct opt *letter_find(const struct cmd *cmd, char letter)
{
    for (const struct opt *o = NULL; (o = opt_next(cmd, o));)
        if (o->letter == letter)
            return o;
    return NULL;
}

static int unknown_option(const struct opts *out, const char *arg, size_t len)
{
    const char *names[OPT_GIVEN_MAX + 1], *near;
    char word[64];
    unsigned n = 0;

    for (const struct opt *o = NULL; n < OPT_GIVEN_MAX && (o = opt_next(out->cmd, o));)
        names[n++] = o->name;
    names[n] = NULL;
    snprintf(word, sizeof(word), "%.*s", (int)len, arg);
    if ((near = word_nearest(word, names)))
        return opt_usage(out->prog, out->cmd, "unknown option '--%s': did you mean '--%s'?", word, near);
    return opt_usage(out->prog, out->cmd, "unknown option '--%s'", word);
}

static bool word_listed(const char *words, const char *word)
{
    const size_t len = strlen(word);

    for (const char *p = words; p; p = strchr(p, '|')) {
        p += *p == '|';
        if (len && !strncmp(p, word, len) && (p[len] == '|' || !p[len]))
            return true;
    }
    return false;
}

int opt_operand_word(const struct opts *o, unsigned i, const char *name, const char *words)
{
    if (i >= o->operand_nr || word_listed(words, o->operand[i]))
        return -1;
    return opt_usage(o->prog, o->cmd, "%s '%s': not one of %s", name, o->operand[i], words);
}

static int bad_number(const struct opts *out, const struct opt *o, const char *text)
{
    char lo[SIZE_STR_MAX], hi[SIZE_STR_MAX];

    if (o->kind == OPT_NUM)
        return opt_usage(out->prog, out->cmd, "--%s %s: not a number from %llu to %llu", o->name, text,
                         (unsigned long long)o->lo, (unsigned long long)o->hi);
    size_format(o->lo, lo);
    size_format(o->hi, hi);
    return opt_usage(out->prog, out->cmd, "--%s %s: not a size from %s to %s: digits, then k, M, G or T",
                     o->name, text, lo, hi);
}

/* Checks a value by its option's kind. Return: -1 when it is good. */
static int value_check(const struct opts *out, struct opt_given *g)
{
    const struct opt *o = g->opt;
    struct cores cores;
    char why[256];

    switch (o->kind) {
    case OPT_FLAG: return -1;
    case OPT_TEXT:
        return *g->text ? -1 : opt_usage(out->prog, out->cmd, "--%s: empty; it takes %s", o->name, o->arg);
    case OPT_NUM:
        if (number_parse(g->text, &g->num) || g->num < o->lo || g->num > o->hi)
            return bad_number(out, o, g->text);
        return -1;
    case OPT_SIZE:
        if (size_parse(g->text, &g->num) || g->num < o->lo || g->num > o->hi)
            return bad_number(out, o, g->text);
        return -1;
    case OPT_WORD:
        if (!word_listed(o->arg, g->text))
            return opt_usage(out->prog, out->cmd, "--%s %s: not one of %s", o->name, g->text, o->arg);
        return -1;
    case OPT_CORES:
        if (!cores_parse(g->text, &cores, why))
            return opt_usage(out->prog, out->cmd, "--%s: %s", o->name, why);
        return -1;
    }
    return -1;
}

static int give(struct opts *out, const struct opt *o, const char *text)
{
    struct opt_given *g = &out->given[out->given_nr];

    /* The last one wins, so that a script's options can be overridden at the end of its line. */
    for (unsigned i = 0; !o->many && i < out->given_nr; i++)
        if (out->given[i].opt == o)
            g = &out->given[i];
    if (g == &out->given[OPT_GIVEN_MAX])
        return opt_usage(out->prog, out->cmd, "more than %d options", OPT_GIVEN_MAX);
    out->given_nr += g == &out->given[out->given_nr];
    *g = (struct opt_given){ .opt = o, .text = text };
    return value_check(out, g);
}

/* One argument that begins with a dash; *i is moved past a value of its own. Return: -1 when taken. */
static int option_take(struct opts *out, int argc, char **argv, int *i)
{
    const char *arg = argv[*i], *name = arg + 2, *value = NULL;
    const struct opt *o;

    if (arg[1] == '-') {
        const char *eq = strchr(name, '=');
        const size_t len = eq ? (size_t)(eq - name) : strlen(name);

        if (!(o = opt_find(out->cmd, name, len)))
            return unknown_option(out, name, len);
        value = eq ? eq + 1 : NULL;
    } else {
        if (!(o = letter_find(out->cmd, arg[1])))
            return opt_usage(out->prog, out->cmd, "unknown option '-%c'", arg[1]);
        if (arg[2] && o->kind == OPT_FLAG)
            return opt_usage(out->prog, out->cmd, "'%s': give single-letter options apart", arg);
        value = arg[2] ? arg + 2 : NULL;
    }
    if (o->kind == OPT_FLAG) {
        if (value)
            return opt_usage(out->prog, out->cmd, "--%s takes no value", o->name);
        return give(out, o, NULL);
    }
    if (!value && *i + 1 >= argc)
        return opt_usage(out->prog, out->cmd, "--%s needs a value: %s", o->name, o->arg);
    return give(out, o, value ? value : argv[++*i]);
}

static void operands_count(const char *words, unsigned *least, unsigned *most)
{
    *least = *most = 0;
    for (const char *p = words; p && *p; p += strcspn(p, " "), p += *p == ' ') {
        (*most)++;
        *least += *p != '[';
    }
}

/* The operand in place @n by the name the usage line has for it. */
static int operand_missing(const struct opts *out, unsigned n)
{
    const char *p = out->cmd->operands;

    while (n--)
        p += strcspn(p, " ") + 1;
    return opt_usage(out->prog, out->cmd, "%.*s is missing", (int)strcspn(p, " "), p);
}

static int operand_check(const struct opts *out)
{
    unsigned least, most;

    operands_count(out->cmd->operands, &least, &most);
    if (out->operand_nr < least)
        return operand_missing(out, out->operand_nr);
    if (out->operand_nr > most)
        return opt_usage(out->prog, out->cmd, "'%s' is one argument too many", out->operand[most]);
    return -1;
}

int opt_parse(struct opts *out, const char *prog, const struct cmd *cmd, int argc, char **argv)
{
    bool options = true;
    int ret = -1;

    *out = (struct opts){ .prog = prog, .cmd = cmd };
    for (int i = 0; i < argc && ret < 0; i++) {
        if (options && !strcmp(argv[i], "--"))
            options = false;
        else if (options && argv[i][0] == '-' && argv[i][1])
            ret = option_take(out, argc, argv, &i);
        else if (out->operand_nr == OPT_OPERANDS_MAX)
            ret = opt_usage(prog, cmd, "'%s' is one argument too many", argv[i]);
        else
            out->operand[out->operand_nr++] = argv[i];
        if (ret < 0 && opt_has(out, "help")) {
            opt_help(stdout, prog, cmd);
            return 0;
        }
        if (ret < 0 && opt_has(out, "version")) {
            printf("%s %s\n", prog, CORELANE_VERSION);
            return 0;
        }
    }
    return ret < 0 ? operand_check(out) : ret;
}

/* ---- what was given -------------------------------------------------------------------------------------- */

const struct opt_given *opt_get(const struct opts *o, const char *name)
{
    for (unsigned i = o->given_nr; i-- > 0;)
        if (!strcmp(o->given[i].opt->name, name))
            return &o->given[i];
    return NULL;
}

bool opt_has(const struct opts *o, const char *name)
{
    return opt_get(o, name);
}

const char *opt_text(const struct opts *o, const char *name, const char *none)
{
    const struct opt_given *g = opt_get(o, name);

    return g ? g->text : none;
}

uint64_t opt_num(const struct opts *o, const char *name, uint64_t none)
{
    const struct opt_given *g = opt_get(o, name);

    return g ? g->num : none;
}
