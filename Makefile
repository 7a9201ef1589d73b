# The learner's commands. `make` lists them.
#
# A chapter is its folder: chapters/03-poll-add has its program in poll_add.c,
# its exercise in exercise.c, its solution in solutions/03-poll-add.c and its
# tests in tests/03-poll-add.bats. There is no other list of chapters.

MAKEFLAGS += --jobs=$(shell nproc)
# `make clean test`: one after the other
ifneq ($(word 2,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD    ?= build
CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Wpedantic -Wshadow
COMPILE   = $(CC) -std=gnu11 -D_GNU_SOURCE -iquote common $(WARNINGS) $(CFLAGS) -MMD -MP

# PORT and VISIT reach the programs; CC and BUILD reach the scripts.
export CC BUILD PORT VISIT
export BATS_LIB_PATH ?= /usr/lib/bats:/usr/share/bats:/usr/lib:/usr/share

chapters := $(notdir $(wildcard chapters/[0-9][0-9]-*))
# 03-poll-add -> 3, and 03-poll-add -> poll_add
number    = $(patsubst 0%,%,$(firstword $(subst -, ,$1)))
source    = $(subst -,_,$(patsubst $(firstword $(subst -, ,$1))-%,%,$1))
numbers  := $(foreach c,$(chapters),$(call number,$c))

# Stops with one line when a tool is missing.
missing = $(shell CC='$(CC)' BATS_LIB_PATH='$(BATS_LIB_PATH)' common/need $1)
need = $(foreach m,$(firstword $(missing)),$(error $(missing)))

programs  := $(chapters:%=$(BUILD)/chapters/%)
exercises := $(chapters:%=$(BUILD)/exercises/%)
solutions := $(chapters:%=$(BUILD)/solutions/%)
tools     := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/*.c)) \
             $(patsubst common/%.c,$(BUILD)/%,$(wildcard common/tools/*.c))
library   := $(patsubst common/%.c,$(BUILD)/common/%.o,$(wildcard common/*.c))

.PHONY: help
help:
	@echo 'make chapter3      run chapter 3 while its visitors come'
	@echo '                   (VISIT=no: you are the visitor; PORT=9000: elsewhere)'
	@echo 'make test3         run the tests of its program'
	@echo 'make exercise3     build your exercise.c and run its tests'
	@echo 'make watch3        the same, each time you save the file'
	@echo 'make hint3         the next hint for the exercise'
	@echo 'make solution3     run the tests of the solution, and say where to read it'
	@echo 'make reset3        put exercise.c back as it was'
	@echo 'make strace3       run the program and see its system calls'
	@echo
	@echo 'make doctor        can this machine run the course?'
	@echo 'make bench         all servers side by side (CHAPTERS="12 16": only these)'
	@echo 'make progress      which exercises pass, and what comes next'
	@echo 'make all           build everything'
	@echo 'make test          run all tests of programs and solutions'
	@echo 'make check         what authors run besides'
	@echo 'make clean         remove build/, and with it everything made'
	@echo
	@echo 'chapters: $(numbers)     begin with TUTORIAL.md, or chapters/01-*/README.md'

# --- building ---------------------------------------------------------------

.PHONY: all programs
all: $(programs) $(exercises) $(solutions) $(tools)
programs: $(programs) $(solutions) $(tools)

# asked once, and only where something is built
liburing = $(eval liburing := $$(shell pkg-config --cflags --libs liburing))$(liburing)

link = $(COMPILE) -o $@ $< $(BUILD)/libcommon.a \
       -Wl,--as-needed $(liburing) $(LDFLAGS)

.PHONY: tools-for-building
tools-for-building:
	@:$(call need,compiler liburing)

$(BUILD)/common/%.o: common/%.c | tools-for-building
	@mkdir -p $(@D)
	@$(COMPILE) $(filter-out -l% -L%,$(liburing)) -c -o $@ $<

$(BUILD)/libcommon.a: $(library)
	@rm -f $@
	@$(AR) rcs $@ $^

$(BUILD)/solutions/%: solutions/%.c $(BUILD)/libcommon.a | tools-for-building
	@mkdir -p $(@D)
	@$(link)

$(BUILD)/tests/%: tests/%.c $(BUILD)/libcommon.a | tools-for-building
	@mkdir -p $(@D)
	@$(link)

$(BUILD)/tools/%: common/tools/%.c $(BUILD)/libcommon.a | tools-for-building
	@mkdir -p $(@D)
	@$(link)

$(BUILD)/exercises/%: chapters/%/exercise.c $(BUILD)/libcommon.a \
                      | tools-for-building
	@mkdir -p $(@D)
	@$(link) || { rm -f $@; \
	echo 'The compiler did not take $<: its first message above says where.'; \
	echo 'Mend that line and try again; "make reset$(call number,$*)" starts over.'; \
	exit 1; } >&2

# --- one chapter ------------------------------------------------------------

define chapter
$(BUILD)/chapters/$1: chapters/$1/$(call source,$1).c $(BUILD)/libcommon.a \
                      | tools-for-building
	@mkdir -p $$(@D)
	@$$(link)

.PHONY: $(foreach t,chapter test exercise watch hint solution reset strace,$t$2)
chapter$2: $(BUILD)/chapters/$1
	@common/run chapters/$1 $$<
strace$2: $(BUILD)/chapters/$1
	@:$$(call need,strace)
	@common/course strace $1
test$2: $(BUILD)/chapters/$1 $(tools)
	@:$$(call need,bats)
	@bats --filter '^program' tests/$1.bats
exercise$2: $(BUILD)/exercises/$1 $(tools)
	@:$$(call need,bats)
	@common/course exercise $1
watch$2:
	@common/course watch $1
hint$2:
	@common/course hint $1
solution$2: $(BUILD)/solutions/$1 $(tools)
	@:$$(call need,bats)
	@common/course solution $1
reset$2:
	@common/course reset $1
endef
$(foreach c,$(chapters),$(eval $(call chapter,$c,$(call number,$c))))

# Whatever else begins like a chapter's command has a wrong number.
commands := chapter test exercise watch hint solution reset strace
known    := test $(foreach c,$(commands),$(numbers:%=$c%))
unknown  := $(filter-out $(known),$(filter $(commands:%=%%),$(MAKECMDGOALS)))
$(foreach goal,$(firstword $(unknown)),$(error \
  no such command: $(goal). The chapters are $(numbers); "make" lists the commands))

# --- all of them ------------------------------------------------------------

suite := $(chapters:%=tests/%.bats)

.PHONY: doctor bench benchtest progress test check faults kernels liburings syntax clean
doctor:
	@common/doctor

# CHAPTERS, CONNECTIONS, SVG=FILE and more: see common/bench.
bench: $(programs) $(BUILD)/tools/load $(BUILD)/tools/epoll_server
	@common/bench

# The load and the epoll server are tested, and the speed claims measured: this
# takes minutes and a quiet machine, so it is no part of make test.
benchtest: programs
	@:$(call need,bats)
	@common/test tests/epoll-server.bats
	@common/test tests/bench.bats

progress: $(tools)
	@:$(call need,bats)
	@common/course progress

test: programs
	@:$(call need,bats)
	@common/test $(suite)

check: programs
	@common/check

# For authors: what each program makes of system calls that fail.
faults: programs
	@:$(call need,bats strace)
	@bats tests/faults.bats

# For authors: the tests on other kernels (KERNELS='5.10 6.1' for some of them).
kernels: programs
	@common/kernels $(suite) tests/doctor.bats

# For authors: the chapters with other liburings (LIBURINGS='2.3 2.15'), and by
# gcc and by clang.
liburings:
	@common/liburings $(suite)

# What the compiler says of the files that may use liburing; nothing is made.
syntax: sources := $(wildcard chapters/*/*.c solutions/*.c common/*.c)
syntax: tools-for-building
	@printf '%s\n' $(sources) | xargs -P $(shell nproc) -n 20 \
	    $(filter-out -MMD -MP,$(COMPILE)) $(filter-out -l% -L%,$(liburing)) -fsyntax-only

clean:
	rm -rf $(BUILD)

-include $(wildcard $(BUILD)/*/*.d)
