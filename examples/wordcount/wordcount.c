// wordcount counts the lines, words and bytes of its standard input and, with
// -t N, prints the N words that occur most often.
//
// A word is a run of ASCII letters, ASCII digits and bytes above 127 (so that
// words in UTF-8 hold together). ASCII letters count as lower case. Of words
// that occur equally often the first in byte order is printed first.

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORD = 64 }; // of a longer word, only so many bytes count

struct entry {
	uint64_t count; // 0: the entry is free
	unsigned char len;
	unsigned char word[MAX_WORD];
};

// A hash table with open addressing, at most half full. Its size is a power of two.
static struct entry *table;
static size_t size, used;

static void fail(const char *what)
{
	fprintf(stderr, "wordcount: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int word_order(const struct entry *a, const unsigned char *word, size_t len)
{
	int c = memcmp(a->word, word, a->len < len ? a->len : len);
	return c != 0 ? c : (int)a->len - (int)len;
}

static struct entry *find(struct entry *t, size_t n, const unsigned char *word, size_t len)
{
	uint32_t h = 2166136261u; // FNV-1a
	for (size_t i = 0; i < len; i++)
		h = (h ^ word[i]) * 16777619u;
	size_t i = h & (n - 1);
	while (t[i].count != 0 && word_order(&t[i], word, len) != 0)
		i = (i + 1) & (n - 1);
	return &t[i];
}

static void grow(void)
{
	size_t n = size == 0 ? 1024 : 2 * size;
	struct entry *t = calloc(n, sizeof *t);
	if (t == NULL)
		fail("too many words");
	for (size_t i = 0; i < size; i++)
		if (table[i].count != 0)
			*find(t, n, table[i].word, table[i].len) = table[i];
	free(table);
	table = t;
	size = n;
}

static void count_word(const unsigned char *word, size_t len)
{
	if (2 * used >= size)
		grow();
	struct entry *e = find(table, size, word, len);
	if (e->count++ == 0) {
		used++;
		e->len = (unsigned char)len;
		memcpy(e->word, word, len);
	}
}

static int by_count(const void *pa, const void *pb)
{
	const struct entry *a = pa, *b = pb;
	if (a->count != b->count)
		return a->count > b->count ? -1 : 1;
	return word_order(a, b->word, b->len);
}

// lower is c as a byte of a word, or 0 if it is none.
static unsigned char lower(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A' + 'a';
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c > 127)
		return c;
	return 0;
}

static void print_top(size_t top)
{
	size_t n = 0;
	for (size_t i = 0; i < size; i++)
		if (table[i].count != 0)
			table[n++] = table[i];
	if (n > 0) // table is NULL otherwise
		qsort(table, n, sizeof *table, by_count);
	for (size_t i = 0; i < n && i < top; i++)
		printf("%8llu %.*s\n", (unsigned long long)table[i].count, (int)table[i].len, (const char *)table[i].word);
}

int main(int argc, char **argv)
{
	unsigned long top = 0;
	if (argc == 3 && strcmp(argv[1], "-t") == 0 && argv[2][0] >= '0' && argv[2][0] <= '9') {
		char *end;
		top = strtoul(argv[2], &end, 10);
		if (*end != '\0')
			argc = 0;
	} else if (argc > 1) {
		argc = 0;
	}
	if (argc == 0) {
		fprintf(stderr, "usage: wordcount [-t N] < TEXT\n");
		return 2;
	}

	static unsigned char buf[65536];
	unsigned char word[MAX_WORD];
	size_t n, len = 0;
	uint64_t lines = 0, words = 0, bytes = 0;
	int in_word = 0;
	while ((n = fread(buf, 1, sizeof buf, stdin)) > 0) {
		bytes += n;
		for (size_t i = 0; i < n; i++) {
			unsigned char c = lower(buf[i]);
			lines += buf[i] == '\n';
			if (c != 0) {
				words += !in_word;
				in_word = 1;
				if (len < MAX_WORD)
					word[len++] = c;
			} else if (in_word) {
				if (top > 0)
					count_word(word, len);
				in_word = 0;
				len = 0;
			}
		}
	}
	if (ferror(stdin))
		fail("standard input");
	if (in_word && top > 0)
		count_word(word, len);

	printf("%8llu lines\n%8llu words\n%8llu bytes\n", (unsigned long long)lines, (unsigned long long)words, (unsigned long long)bytes);
	print_top(top);
	if (fflush(stdout) != 0)
		fail("standard output");
	return 0;
}
