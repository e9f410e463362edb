/*
 * rt_list.h - a circular doubly linked list whose links live inside the objects
 */
#ifndef CORELANE_RT_LIST_H
#define CORELANE_RT_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct rt_link {
    struct rt_link *prev, *next;
};

static inline void rt_list_init(struct rt_link *head)
{
    head->prev = head->next = head;
}

/* Also of a link: true when it is in no list, if it was initialised or removed with rt_list_del(). */
static inline bool rt_list_empty(const struct rt_link *head)
{
    return head->next == head;
}

static inline void rt_list_add_after(struct rt_link *at, struct rt_link *l)
{
    l->prev = at;
    l->next = at->next;
    at->next->prev = l;
    at->next = l;
}

static inline void rt_list_push(struct rt_link *head, struct rt_link *l)   /* at the tail */
{
    rt_list_add_after(head->prev, l);
}

static inline void rt_list_push_front(struct rt_link *head, struct rt_link *l)
{
    rt_list_add_after(head, l);
}

static inline void rt_list_del(struct rt_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    l->prev = l->next = l;
}

static inline struct rt_link *rt_list_pop(struct rt_link *head)   /* from the front; NULL: empty */
{
    struct rt_link *l = head->next;

    if (l == head)
        return NULL;
    rt_list_del(l);
    return l;
}

#define rt_list_entry(link, type, member) ((type *)((char *)(link)-offsetof(type, member)))
#define rt_list_for(l, head) for (struct rt_link *l = (head)->next; l != (head); l = l->next)
/* The current link may be removed inside. */
#define rt_list_for_safe(l, head)                                                                            \
    for (struct rt_link *l = (head)->next, *l##_next = l->next; l != (head); l = l##_next, l##_next = l->next)

#endif
