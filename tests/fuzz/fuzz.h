/* Fuzz: what the targets share. A target NAME_fuzz.c is one function over any bytes. What must hold
 * is asserted; assertions stay on in every build. With FUZZ=ON libFuzzer drives it, else
 * replay_main.c does, over the files of corpus/NAME. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns 0 always. data is a heap block of exactly that size: sanitizers see a step beyond it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A piece of an input, borrowed. */
struct fuzz_piece {
    const char *at;
    size_t len;
};

/* Takes the first line out of the rest, its newline too; without a newline, all of it. False: there
 * was nothing left. */
bool fuzz_take_line(struct fuzz_piece *rest, struct fuzz_piece *ret_line);

/* The piece up to its first NUL, as text in a block of exactly that size. The caller frees. */
char *fuzz_text(struct fuzz_piece piece);

/* The piece in a block of exactly its size. The caller frees. */
char *fuzz_copy(struct fuzz_piece piece);

/* Numbers that only depend on the input, for targets that cut it into pieces. */
struct fuzz_random {
    uint64_t state;
};
struct fuzz_random fuzz_random_of(const uint8_t *data, size_t size);
size_t fuzz_random_below(struct fuzz_random *random, size_t end); /* end > 0 */

/* Whether the text is UTF-8 without NUL, as a JSON library sees it. */
bool fuzz_is_utf8(const char *text);

struct problems;

/* Asserts that the list can be said to a client: 1 to PROBLEMS_MAX problems, each whole in JSON. */
void fuzz_check_problems(const struct problems *problems);

#endif
