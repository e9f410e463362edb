/*
 * main.c - corelane: finds the command that was asked for, and runs it
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "corelane.h"
#include "programs/common/opt.h"
#include "programs/common/text.h"
#include "programs/corelane/commands.h"

#define PROG         "corelane"
#define COMMANDS_MAX 128

static const struct {
    const char *title;
    const struct cmd *cmds;
} groups[] = {
    { "Disks of this host (corelaned):", cmds_disk },
    { "Paths of disks (corelaned):", cmds_path },
    { "Targets of this host (corelane-targetd):", cmds_target },
    { "Looking:", cmds_show },
    { "Sessions and cores:", cmds_layout },
    { "Sessions of the kernel's own initiator (open-iscsi):", cmds_kernel },
    { "Measuring:", cmds_bench },
};
#define HELP_WORDS 28 /* columns for a command and what it takes */
#define GROUPS (sizeof(groups) / sizeof(groups[0]))

static const struct cmd top = {
    .words = "",
    .operands = "COMMAND",
    .help = "iSCSI disks and targets, each session on a core of its own.",
    .sets = { opt_common },
};

static void help_line(FILE *to, const struct cmd *c)
{
    char left[64];
    const int n = snprintf(left, sizeof(left), "%s%s%s", c->words, c->operands ? " " : "",
                           c->operands ? c->operands : "");

    if (n > HELP_WORDS)
        fprintf(to, "  %s\n  %*s %s\n", left, HELP_WORDS, "", c->help);
    else
        fprintf(to, "  %-*s %s\n", HELP_WORDS, left, c->help);
}

static void help_print(FILE *to)
{
    fprintf(to, "usage: %s COMMAND [ARGUMENT]... [OPTION]...\n\n%s\n", PROG, top.help);
    for (size_t g = 0; g < GROUPS; g++) {
        fprintf(to, "\n%s\n", groups[g].title);
        for (const struct cmd *c = groups[g].cmds; c->words; c++)
            help_line(to, c);
    }
    fputs("\noptions:\n"
          "  -h, --help                  print this; after a command, what it takes\n"
          "  -V, --version               print the version\n\n"
          "The daemons are found by --run-dir DIR, the environment variable CORELANE_RUN_DIR, /run/corelane "
          "for root and\n"
          "$XDG_RUNTIME_DIR/corelane for others.\n",
          to);
}

/* Of the commands that begin with @first. */
static void help_some(FILE *to, const char *first)
{
    const size_t len = strlen(first);

    fprintf(to, "usage: %s %s COMMAND [ARGUMENT]... [OPTION]...\n\n", PROG, first);
    for (size_t g = 0; g < GROUPS; g++)
        for (const struct cmd *c = groups[g].cmds; c->words; c++)
            if (!strncmp(c->words, first, len) && c->words[len] == ' ')
                help_line(to, c);
    fputs("\nEach takes --help.\n", to);
}

/* How many leading arguments are the command's words, 0: it is another command. */
static int words_match(const struct cmd *c, int argc, char **argv)
{
    const char *p = c->words;
    int n = 0;

    while (*p) {
        const size_t len = strcspn(p, " ");

        if (n == argc || strlen(argv[n]) != len || memcmp(argv[n], p, len))
            return 0;
        p += len + (p[len] == ' ');
        n++;
    }
    return n;
}

static const struct cmd *cmd_find(int argc, char **argv, int *used)
{
    const struct cmd *found = NULL;

    *used = 0;
    for (size_t g = 0; g < GROUPS; g++) {
        for (const struct cmd *c = groups[g].cmds; c->words; c++) {
            const int n = words_match(c, argc, argv);

            if (n > *used) { /* "detach list" before "detach" */
                *used = n;
                found = c;
            }
        }
    }
    return found;
}

/* Fills @list with first words (@first NULL), or with the second words that follow @first; each once, then
 * NULL. */
static unsigned words_list(const char *first, const char **list, char store[][24])
{
    unsigned n = 0;

    for (size_t g = 0; g < GROUPS; g++) {
        for (const struct cmd *c = groups[g].cmds; c->words && n < COMMANDS_MAX; c++) {
            const char *word = c->words;
            const char *space = strchr(word, ' ');
            bool known = false;

            if (first) {
                if (!space || strlen(first) != (size_t)(space - word) ||
                    memcmp(first, word, (size_t)(space - word)))
                    continue;
                word = space + 1;
                space = NULL;
            }
            snprintf(store[n], 24, "%.*s", space ? (int)(space - word) : 23, word);
            for (unsigned i = 0; i < n; i++)
                known |= !strcmp(store[i], store[n]);
            if (!known) {
                list[n] = store[n];
                n++;
            }
        }
    }
    list[n] = NULL;
    return n;
}

static bool is_option(const char *arg, const char *name, const char *letter)
{
    return !strcmp(arg, name) || !strcmp(arg, letter);
}

/* No command: says what is nearest, or what could follow the first word. */
static int unknown(int argc, char **argv)
{
    const char *list[COMMANDS_MAX + 1], *near;
    char store[COMMANDS_MAX + 1][24];

    if (words_list(argv[0], list, store)) {
        if (argc == 2 && is_option(argv[1], "--help", "-h")) {
            help_some(stdout, argv[0]);
            return 0;
        }
        if (argc > 1 && *argv[1] != '-' && (near = word_nearest(argv[1], list)))
            return opt_usage(PROG, &top, "unknown command '%s %s': did you mean '%s %s'?", argv[0], argv[1],
                             argv[0], near);
        fprintf(stderr, "%s: %s what? One of:", PROG, argv[0]);
        for (unsigned i = 0; list[i]; i++)
            fprintf(stderr, " %s", list[i]);
        fprintf(stderr, "\nSee '%s %s --help'.\n", PROG, argv[0]);
        return EXIT_USAGE;
    }
    words_list(NULL, list, store);
    if ((near = word_nearest(argv[0], list)))
        return opt_usage(PROG, &top, "unknown command '%s': did you mean '%s'?", argv[0], near);
    return opt_usage(PROG, &top, "unknown command '%s'", argv[0]);
}

/* "corelane --run-dir DIR list" means "corelane list --run-dir DIR": options before the command are put behind
 * it. Return: how many arguments that are. */
static int leading_options(int argc, char **argv)
{
    int n = 0;

    while (n < argc && argv[n][0] == '-' && strcmp(argv[n], "--"))
        n += strcmp(argv[n], "--run-dir") ? 1 : 2;
    return n < argc ? n : argc;
}

int main(int argc, char **argv)
{
    const int lead = leading_options(argc - 1, argv + 1), left = argc - 1 - lead;
    char **args = calloc((size_t)argc + 1, sizeof(*args));
    const struct cmd *cmd;
    struct opts o;
    int used, status;

    if (!args)
        return 1;
    memcpy(args, argv + 1 + lead, (size_t)left * sizeof(*args));
    memcpy(args + left, argv + 1, (size_t)lead * sizeof(*args));
    if (!left) { /* no command at all */
        const bool help = lead == 1 && is_option(args[0], "--help", "-h");

        status = help ? 0 : EXIT_USAGE;
        if (lead == 1 && is_option(args[0], "--version", "-V")) {
            printf("%s %s\n", PROG, CORELANE_VERSION);
            status = 0;
        } else if (lead && !help) {
            status = opt_parse(&o, PROG, &top, lead, args);
        } else {
            help_print(help ? stdout : stderr);
        }
    } else if (!(cmd = cmd_find(left, args, &used))) {
        status = unknown(left, args);
    } else {
        status = opt_parse(&o, PROG, cmd, argc - 1 - used, args + used);
        if (status < 0)
            status = cmd->run(cmd, &o);
    }
    if (fflush(stdout) || ferror(stdout))
        status = status ? status : 1; /* a full disk behind a redirection is a failure, not a success */
    free(args);
    return status;
}
