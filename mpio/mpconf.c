/*
 * mpconf.c - /etc/multipath.conf's text: lines, words, sections; see mpconf.h
 *
 * What a key means is mpconf_keys.c's business. Values are judged as they are read, and kept as text in their section; what
 * holds for a unit is worked out when it is asked for, by applying the sections that match one after another.
 */
#include <errno.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "mpio/mpconf_keys.h"
#include "reactor/rt.h"

#define FILE_LEN_MAX (1u << 20)
#define ENTRIES_MAX  8192u /* keys in all */
#define SECTIONS_MAX 1024u
#define REMARKS_MAX  64u
#define UNKNOWN_MAX  64u
#define WORDS_MAX    8u

/* ---- what is kept ---------------------------------------------------------------------------------------- */

enum where {
    TOP,
    DEFAULTS,
    BLACKLIST,
    EXCEPTIONS,
    DEVICES,
    OVERRIDES,
    MULTIPATHS,
    DEVICE,
    LISTED,
    MULTIPATH,
    PROTOCOL
};

struct pattern { /* a regular expression; a leading '!' turns it round */
    regex_t re;
    bool given, is_not;
};

struct entry { /* a key of a section */
    const struct mpconf_key *key;
    char *value;
};

struct section {
    enum where where; /* DEFAULTS, DEVICE, OVERRIDES, MULTIPATH: settings; LISTED: a device in a blacklist */
    bool except;      /* of blacklist_exceptions */
    bool broken;      /* one of its expressions cannot be: it is for nobody */
    unsigned line;
    struct pattern vendor, product, revision, wwid; /* wwid: of a blacklist; alone in its section */
    char name[MPCONF_VALUE_MAX];                    /* the wwid of a multipath */
    unsigned first, nr;                             /* its entries */
};

struct mpio_mpconf {
    char from[256];
    struct section *sections;
    unsigned sections_nr;
    struct entry *entries;
    unsigned entries_nr;
};

static bool pattern_match(const struct pattern *p, const char *text)
{
    return !p->given || (regexec(&p->re, text, 0, NULL, 0) == 0) != p->is_not;
}

static void pattern_free(struct pattern *p)
{
    if (p->given)
        regfree(&p->re);
    p->given = false;
}

void mpio_mpconf_free(struct mpio_mpconf *f)
{
    if (!f)
        return;
    for (unsigned i = 0; i < f->sections_nr; i++) {
        struct section *s = &f->sections[i];

        pattern_free(&s->vendor);
        pattern_free(&s->product);
        pattern_free(&s->revision);
        pattern_free(&s->wwid);
    }
    for (unsigned i = 0; i < f->entries_nr; i++)
        free(f->entries[i].value);
    free(f->sections);
    free(f->entries);
    free(f);
}

/* ---- the parser ------------------------------------------------------------------------------------------ */

struct parser {
    struct mpio_mpconf *f;
    const struct mpio_mpconf_say *say;
    unsigned line, remarks, depth;
    enum where at[3];
    bool skip;          /* inside a section that is not known, down to where it ends */
    unsigned skip_from; /* depth */
    struct section *now;
    char unknown[UNKNOWN_MAX][48]; /* named already */
    unsigned unknown_nr;
};

static void remark(struct parser *p, bool bad, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void remark(struct parser *p, bool bad, const char *fmt, ...)
{
    char text[400], words[320];
    va_list ap;

    if (p->remarks > REMARKS_MAX || !p->say)
        return;
    if (p->remarks++ == REMARKS_MAX) {
        snprintf(text, sizeof(text), "%.64s: more like these: mend the first", p->f->from);
        p->say->fn(p->say->user, true, text);
        return;
    }
    va_start(ap, fmt);
    vsnprintf(words, sizeof(words), fmt, ap);
    va_end(ap);
    for (char *c = words; *c; c++) /* the file may hold anything */
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
            *c = '?';
    snprintf(text, sizeof(text), "%.64s line %u: %s", p->f->from, p->line, words);
    p->say->fn(p->say->user, bad, text);
}

/* Whether that word is new: each is named once. */
static bool first_time(struct parser *p, const char *word)
{
    for (unsigned i = 0; i < p->unknown_nr; i++)
        if (!strncmp(p->unknown[i], word, sizeof(p->unknown[0]) - 1))
            return false;
    if (p->unknown_nr < UNKNOWN_MAX)
        snprintf(p->unknown[p->unknown_nr++], sizeof(p->unknown[0]), "%.47s", word);
    return true;
}

static enum where here(const struct parser *p)
{
    return p->depth ? p->at[p->depth - 1] : TOP;
}

/* Compiling an expression may take memory and time without bound where repeats nest, and matching it where it refers back
 * to itself: no vendor's name needs that. */
static bool is_tame(const char *v)
{
    if (strlen(v) >= MPCONF_VALUE_MAX || strchr(v, '{'))
        return false;
    for (; *v; v++) {
        if (*v != '\\')
            continue;
        if (!*++v || (*v >= '0' && *v <= '9'))
            return false;
    }
    return true;
}

static void pattern_take(struct parser *p, struct section *s, struct pattern *out, const char *name,
                         const char *v)
{
    struct pattern made = { .given = true };
    int err;

    if (*v == '!') {
        made.is_not = true;
        v++;
    }
    /* As multipath-tools: a lone star, as in a shell, is meant to match all. */
    if (!strcmp(v, "*"))
        v = ".*";
    if (!is_tame(v)) {
        remark(p, true, "%s '%.80s': an expression is at most 255 characters, without '{' and references back",
               name, v);
        s->broken = true;
        return;
    }
    if ((err = regcomp(&made.re, v, REG_EXTENDED | REG_NOSUB))) {
        char why[80];

        regerror(err, &made.re, why, sizeof(why));
        remark(p, true, "%s '%.80s': %s", name, v, why);
        s->broken = true;
        return;
    }
    pattern_free(out);
    *out = made;
}

static int section_new(struct parser *p, enum where where)
{
    struct mpio_mpconf *f = p->f;

    if (f->sections_nr == SECTIONS_MAX) {
        remark(p, true, "more than %u sections", SECTIONS_MAX);
        return -E2BIG;
    }
    p->now = &f->sections[f->sections_nr++];
    *p->now = (struct section){ .where = where, .line = p->line, .first = f->entries_nr };
    p->now->except = where == LISTED && p->depth && p->at[0] == EXCEPTIONS;
    return 0;
}

static const struct {
    const char *name;
    enum where in, is;
} nests[] = {
    { "defaults", TOP, DEFAULTS },
    { "blacklist", TOP, BLACKLIST },
    { "blacklist_exceptions", TOP, EXCEPTIONS },
    { "devices", TOP, DEVICES },
    { "overrides", TOP, OVERRIDES },
    { "multipaths", TOP, MULTIPATHS },
    { "device", DEVICES, DEVICE },
    { "device", BLACKLIST, LISTED },
    { "device", EXCEPTIONS, LISTED },
    { "multipath", MULTIPATHS, MULTIPATH },
    { "protocol", OVERRIDES, PROTOCOL },
};

static int section_open(struct parser *p, const char *name)
{
    enum where is = TOP;

    if (p->depth == sizeof(p->at) / sizeof(p->at[0])) {
        remark(p, true, "'%.40s {': no section nests that deep", name);
        return -EINVAL;
    }
    for (size_t i = 0; i < sizeof(nests) / sizeof(nests[0]); i++)
        if (nests[i].in == here(p) && !strcmp(nests[i].name, name))
            is = nests[i].is;
    p->at[p->depth++] = is;
    if (p->skip)
        return 0;
    if (is == TOP || is == PROTOCOL) { /* PROTOCOL: of Fibre Channel and others, which there is not here */
        p->skip = true;
        p->skip_from = p->depth;
        if (is == TOP && first_time(p, name))
            remark(p, true, "section '%.40s' is not known here: passed over", name);
        return 0;
    }
    return is == DEFAULTS || is == OVERRIDES || is == DEVICE || is == LISTED || is == MULTIPATH
               ? section_new(p, is)
               : 0;
}

static int section_close(struct parser *p)
{
    if (!p->depth) {
        remark(p, true, "'}' where no section is open");
        return -EINVAL;
    }
    if (p->skip && p->skip_from == p->depth) {
        p->skip = false;
    } else if (!p->skip && p->now) {
        struct section *s = p->now;

        p->line = s->where == MULTIPATH && !*s->name ? s->line : p->line;
        if (s->where == MULTIPATH && !*s->name)
            remark(p, true, "this multipath has no wwid: passed over");
        s->nr = p->f->entries_nr - s->first;
        p->now = NULL;
    }
    p->depth--;
    return 0;
}

/* In blacklist and blacklist_exceptions, outside of a device. */
static int listed_take(struct parser *p, const char *name, const char *v)
{
    int err;

    if (!strcmp(name, "wwid")) {
        if ((err = section_new(p, LISTED)))
            return err;
        p->now->except = here(p) == EXCEPTIONS;
        pattern_take(p, p->now, &p->now->wwid, name, v);
        p->now = NULL;
    } else if (!strcmp(name, "devnode") || !strcmp(name, "property") || !strcmp(name, "protocol")) {
        if (first_time(p, name))
            remark(p, false,
                   "'%s' has no effect here: a path is no device of the kernel's; wwid and device have", name);
    } else if (first_time(p, name)) {
        remark(p, true, "'%.40s' is not known here", name);
    }
    return 0;
}

/* What says which units a section is for. Return: whether it was that. */
static bool matcher_take(struct parser *p, const char *name, const char *v)
{
    struct section *s = p->now;
    struct pattern *of = !strcmp(name, "vendor")     ? &s->vendor
                         : !strcmp(name, "product")  ? &s->product
                         : !strcmp(name, "revision") ? &s->revision
                                                     : NULL;

    if ((s->where == DEVICE || s->where == LISTED) && of) {
        pattern_take(p, s, of, name, v);
        return true;
    }
    if (s->where == MULTIPATH && !strcmp(name, "wwid")) {
        if (strlen(v) < sizeof(s->name))
            snprintf(s->name, sizeof(s->name), "%s", v);
        else
            remark(p, true, "a wwid is at most 255 characters long");
        return true;
    }
    return s->where == LISTED;
}

static int key_take(struct parser *p, const char *name, const char *v)
{
    const struct mpconf_key *k = mpconf_key_find(name);
    struct mpio_mpconf *f = p->f;
    struct mpio_mpset scratch;
    struct mpconf_draft d = { .set = &scratch };
    const char *wrong;

    if (!k) {
        const enum mpconf_idle idle = mpconf_key_idle(name);

        if (idle != MPCONF_QUIET && first_time(p, name))
            remark(p, idle == MPCONF_UNKNOWN, "'%.40s' %s", name,
                   idle == MPCONF_UNKNOWN ? "is not known here" : "has no effect here");
        return 0;
    }
    if ((k->in == MPCONF_DEFAULTS && p->now->where != DEFAULTS) ||
        (k->in == MPCONF_MULTIPATH && p->now->where != MULTIPATH)) {
        remark(p, true, "'%s' belongs into %s", name, k->in == MPCONF_DEFAULTS ? "defaults" : "a multipath");
        return 0;
    }
    memset(&scratch, 0, sizeof(scratch));
    if ((wrong = k->set(&d, v))) {
        remark(p, true, "%s '%.60s': %s", name, v, wrong);
        return 0;
    }
    if (f->entries_nr == ENTRIES_MAX) {
        remark(p, true, "more than %u settings", ENTRIES_MAX);
        return -E2BIG;
    }
    if (!(f->entries[f->entries_nr].value = strdup(v)))
        return -ENOMEM;
    f->entries[f->entries_nr++].key = k;
    return 0;
}

static int setting(struct parser *p, const char *name, const char *v)
{
    if (p->skip)
        return 0;
    if (!p->depth) {
        remark(p, true, "'%.40s' stands outside of all sections", name);
        return 0;
    }
    if (p->now)
        return matcher_take(p, name, v) ? 0 : key_take(p, name, v);
    if (here(p) == BLACKLIST || here(p) == EXCEPTIONS)
        return listed_take(p, name, v);
    remark(p, true, "'%.40s' stands where only sections may", name);
    return 0;
}

/* One word, of @len bytes at most, into @out: quoted ("" inside is a quote), a brace, or what is between blanks. Return: where
 * it ends, or NULL: no more on this line. *cut: it was longer, or its quote does not end. */
static const char *word_next(const char *at, const char *end, char *out, size_t len, bool *quoted, bool *cut)
{
    size_t n = 0;

    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r'))
        at++;
    *quoted = at < end && *at == '"';
    if (at == end || *at == '#' || *at == '!')
        return NULL;
    if (*quoted) {
        for (at++; at < end && (*at != '"' || (at + 1 < end && at[1] == '"')); at++) {
            if (n < len - 1)
                out[n++] = *at;
            else
                *cut = true;
            at += *at == '"';
        }
        *cut |= at == end;
        at += at < end;
    } else if (*at == '{' || *at == '}') {
        out[n++] = *at++;
    } else {
        for (; at < end && !strchr(" \t\r\"{}#!", *at); at++) {
            if (n < len - 1)
                out[n++] = *at;
            else
                *cut = true;
        }
    }
    out[n] = '\0';
    return at;
}

static int line_parse(struct parser *p, const char *at, const char *end)
{
    char word[WORDS_MAX][MPCONF_VALUE_MAX];
    bool quoted[WORDS_MAX], cut = false;
    unsigned nr = 0;
    int err;

    while (nr < WORDS_MAX && (at = word_next(at, end, word[nr], MPCONF_VALUE_MAX, &quoted[nr], &cut)))
        nr++;
    if (!nr)
        return 0;
    if (cut) {
        remark(p, true,
               "a word is longer than 255 characters, or a quote does not end: the line is passed over");
        return 0;
    }
    if (!quoted[0] && !strcmp(word[0], "}")) {
        err = section_close(p);
    } else if (nr > 1 && !quoted[1] && !strcmp(word[1], "{")) {
        err = section_open(p, word[0]);
        if (nr > 2)
            remark(p, true, "what follows '{' on its line is passed over");
        return err;
    } else if (!quoted[0] && !strcmp(word[0], "{")) {
        remark(p, true, "'{' without a name before it on the same line");
        return -EINVAL;
    } else if (nr == 1) {
        if (!p->skip)
            remark(p, true, "'%.40s' has no value", word[0]);
        return 0;
    } else {
        err = setting(p, word[0], word[1]);
        nr--;
    }
    if (nr > 1)
        remark(p, true, "what follows on this line is passed over: quote a value that has blanks");
    return err;
}

static int text_parse(struct parser *p, const char *text, size_t len)
{
    const char *at = text, *const end = text + len;
    int err = 0;

    while (at < end && !err) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));

        p->line++;
        err = line_parse(p, at, nl ? nl : end);
        at = nl ? nl + 1 : end;
    }
    if (!err && p->depth) {
        remark(p, true, "the file ends inside a section: a '}' is missing");
        err = -EINVAL;
    }
    return err;
}

int mpio_mpconf_parse(struct mpio_mpconf **out, const char *text, size_t len, const char *from,
                      const struct mpio_mpconf_say *say)
{
    struct mpio_mpconf *f = calloc(1, sizeof(*f));
    struct parser *p = calloc(1, sizeof(*p));
    int err = 0;

    if (!f || !p || !(f->sections = calloc(SECTIONS_MAX, sizeof(*f->sections))) ||
        !(f->entries = calloc(ENTRIES_MAX, sizeof(*f->entries))))
        err = -ENOMEM;
    if (!err) {
        snprintf(f->from, sizeof(f->from), "%s", from);
        p->f = f;
        p->say = say;
        if (len > FILE_LEN_MAX)
            err = -E2BIG;
        else if (memchr(text, '\0', len))
            err = -EINVAL;
        if (err)
            remark(p, true,
                   err == -E2BIG ? "the file is larger than 1 MiB"
                                 : "there is a zero byte in it: this is no text");
        else
            err = text_parse(p, text, len);
    }
    free(p);
    if (err) {
        mpio_mpconf_free(f);
        return err;
    }
    *out = f;
    return 0;
}

int mpio_mpconf_load(struct mpio_mpconf **out, const char *path, const struct mpio_mpconf_say *say)
{
    char *text;
    size_t len;
    int err = rt_load(path, FILE_LEN_MAX, &text, &len);

    if (err)
        return err;
    err = mpio_mpconf_parse(out, text, len, path, say);
    free(text);
    return err;
}

/* ---- asked ----------------------------------------------------------------------------------------------- */

static bool section_matches(const struct section *s, const struct mpio_whose *u)
{
    if (s->where == MULTIPATH)
        return !strcmp(s->name, u->wwid);
    /* A section that names nobody is for nobody. */
    if (s->broken || ((s->where == DEVICE || s->where == LISTED) && !s->vendor.given && !s->product.given))
        return false;
    return pattern_match(&s->vendor, u->vendor) && pattern_match(&s->product, u->product) &&
           pattern_match(&s->revision, u->revision);
}

static void apply(const struct mpio_mpconf *f, enum where where, const struct mpio_whose *u,
                  struct mpconf_draft *d)
{
    for (unsigned i = 0; i < f->sections_nr; i++) {
        const struct section *s = &f->sections[i];

        if (s->where != where || !section_matches(s, u))
            continue;
        for (unsigned j = s->first; j < s->first + s->nr; j++)
            (void)f->entries[j].key->set(d, f->entries[j].value); /* was judged when it was read */
    }
}

void mpio_mpconf_for(const struct mpio_mpconf *f, const struct mpio_whose *whose, struct mpio_mpset *set)
{
    static const enum where order[] = { DEFAULTS, DEVICE, OVERRIDES, MULTIPATH };
    struct mpconf_draft d = { .set = set, .poll_s = MPCONF_POLL_S };

    set->alias[0] = '\0';
    set->has_pr_key = false;
    set->pr_key = 0;
    if (!f)
        return;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        apply(f, order[i], whose, &d);
    mpconf_finish(&d);
}

static const struct section *listed(const struct mpio_mpconf *f, const struct mpio_whose *u, bool except,
                                    bool by_wwid)
{
    for (unsigned i = 0; i < f->sections_nr; i++) {
        const struct section *s = &f->sections[i];

        if (s->where != LISTED || s->except != except || s->wwid.given != by_wwid)
            continue;
        if (by_wwid ? pattern_match(&s->wwid, u->wwid) : section_matches(s, u))
            return s;
    }
    return NULL;
}

bool mpio_mpconf_blacklisted(const struct mpio_mpconf *f, const struct mpio_whose *whose, char why[static 256])
{
    for (unsigned by_wwid = 0; f && by_wwid < 2; by_wwid++) {
        const struct section *s = listed(f, whose, false, by_wwid);

        if (!s || listed(f, whose, true, by_wwid))
            continue;
        snprintf(why, 256, "%.120s line %u has its %s on the blacklist", f->from, s->line,
                 by_wwid ? "wwid" : "vendor and product");
        return true;
    }
    return false;
}
