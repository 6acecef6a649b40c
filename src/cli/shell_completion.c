// SPDX-License-Identifier: MIT
#include "cli/shell_completion.h"
#include <ctype.h>
#include <string.h>

// What stands around the table. In it, `options` holds "--flag" and "--name=VALUE" words, `operands` the kinds of
// the operands, `words` the commands that may follow.
static const char head[] =
    "# Completion of genrun for bash. Written by the program itself: genrun help --completion bash\n"
    "# shellcheck shell=bash\n"
    "\n"
    "_genrun_command() {\n"
    "    words='' operands='' options=''\n"
    "    case $1 in\n";

static const char tail[] =
    "    esac\n"
    "}\n"
    "\n"
    "# Ids of the newest, by their tails as lists show them; once more is typed than a tail has, whole.\n"
    "_genrun_ids() {\n"
    "    local id\n"
    "    while IFS= read -r id; do\n"
    "        found+=(\"${id: -8}\")\n"
    "        [[ ! $cur || $id != \"$cur\"* ]] || found+=(\"$id\")\n"
    "    done < <(\"${genrun[@]}\" \"$@\" --json --limit 50 2>/dev/null </dev/null |\n"
    "        sed -n 's/^{\"id\":\"\\([0-9a-f-]*\\)\".*/\\1/p')\n"
    "}\n"
    "\n"
    "# Names of what a command lists.\n"
    "_genrun_names() {\n"
    "    local name\n"
    "    while IFS= read -r name; do\n"
    "        [[ $name == '*' ]] || found+=(\"$name\")\n"
    "    done < <(\"${genrun[@]}\" \"$@\" --json 2>/dev/null </dev/null |\n"
    "        sed -n 's/^{\\(\"id\":\"[^\"]*\",\\)\\{0,1\\}\"name\":\"\\([^\"\\\\]*\\)\".*/\\2/p')\n"
    "}\n"
    "\n"
    "# What may stand for a value or operand of this kind, in found.\n"
    "_genrun_kind() {\n"
    "    case $command:$1 in\n"
    "    *:[a-z]*) IFS='|' read -ra found <<<\"$1\" ;;\n"
    "    *:FILE | *:DATABASE)\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t found < <(compgen -f -- \"$cur\")\n"
    "        ;;\n"
    "    *:M | models*:NAME) _genrun_names models ;;\n"
    "    job:NAME) _genrun_names job list ;;\n"
    "    locks*:NAME) _genrun_names locks ;;\n"
    "    'template show:NAME' | 'template remove:NAME') _genrun_names template list ;;\n"
    "    *:B | batch*:ID) _genrun_ids batch list ;;\n"
    "    logs:ID) _genrun_ids list && _genrun_ids batch list ;;\n"
    "    *:ID) _genrun_ids list ;;\n"
    "    help:COMMAND)\n"
    "        _genrun_command \"$rest\"\n"
    "        read -ra found <<<\"$words\"\n"
    "        words=''\n"
    "        ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "# The value that the option of this name takes, in value; nothing for a flag.\n"
    "_genrun_value() {\n"
    "    local option\n"
    "    value=''\n"
    "    for option in $globals $options; do\n"
    "        [[ $option != \"$1\"=* ]] || value=${option#*=}\n"
    "    done\n"
    "}\n"
    "\n"
    "_genrun() {\n"
    "    local words operands options globals value='' command='' rest='' bare='' front='' kind word i\n"
    "    local raw=${COMP_WORDS[COMP_CWORD]} cur\n"
    "    local -a line=() found=() genrun=(\"${COMP_WORDS[0]}\")\n"
    "    COMPREPLY=()\n"
    "    # bash cuts words at ':' and '=': here they are whole again.\n"
    "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if ((${#line[@]})) && [[ $word == [:=]* || ${COMP_WORDS[i - 1]} == [:=]* ]]; then\n"
    "            line[-1]+=$word\n"
    "        else\n"
    "            line+=(\"$word\")\n"
    "        fi\n"
    "    done\n"
    "    cur=${line[-1]}\n"
    "    [[ $raw != [:=]* ]] || raw=''\n"
    "    local cut=$((${#cur} - ${#raw}))\n"
    "    _genrun_command ''\n"
    "    globals=$options options=''\n"
    "    for word in \"${line[@]:0:${#line[@]}-1}\"; do\n"
    "        if [[ $value ]]; then\n"
    "            [[ $value != FILE && $value != DATABASE || $command ]] || genrun+=(\"$word\")\n"
    "            value=''\n"
    "        elif [[ ! $bare && $word == -- ]]; then\n"
    "            bare=1\n"
    "        elif [[ ! $bare && ($word == --* || $word == -?) ]]; then\n"
    "            _genrun_value \"$word\"\n"
    "            [[ ! $value || $command ]] || genrun+=(\"$word\")\n"
    "        elif [[ ! $bare && $word == -* ]]; then\n"
    "            continue\n"
    "        elif [[ \" $words \" == *\" $word \"* ]]; then\n"
    "            command+=${command:+ }$word\n"
    "            _genrun_command \"$command\"\n"
    "        else\n"
    "            words='' rest+=${rest:+ }$word\n"
    "        fi\n"
    "    done\n"
    "    if [[ ! $value && ! $bare && $cur == --*=* ]]; then\n"
    "        front=${cur%%=*}=\n"
    "        _genrun_value \"${cur%%=*}\"\n"
    "        cur=${cur#*=}\n"
    "        _genrun_kind \"$value\"\n"
    "    elif [[ $value ]]; then\n"
    "        _genrun_kind \"$value\"\n"
    "    elif [[ ! $bare && $cur == -* ]]; then\n"
    "        for word in $options $globals; do\n"
    "            found+=(\"${word%%=*}\")\n"
    "        done\n"
    "    else\n"
    "        for kind in $operands; do\n"
    "            _genrun_kind \"$kind\"\n"
    "        done\n"
    "        # shellcheck disable=SC2206 # words without blanks and globs\n"
    "        found+=($words)\n"
    "    fi\n"
    "    for word in \"${found[@]}\"; do\n"
    "        if [[ $word == \"$cur\"* ]]; then\n"
    "            word=$front$word\n"
    "            printf -v word %q \"${word:cut}\"\n"
    "            COMPREPLY+=(\"$word\")\n"
    "        fi\n"
    "    done\n"
    "}\n"
    "\n"
    "complete -F _genrun genrun\n";

static void write_options(struct buf *out, const struct args_option *table) {
    buf_text(out, " options='");
    for (const struct args_option *o = table; o != NULL && o->name != NULL; o++) {
        const char *equals = o->kind == ARGS_FLAG ? "" : "=", *value = o->kind == ARGS_FLAG ? "" : o->value;
        buf_format(out, "%s--%s%s%s", o == table ? "" : " ", o->name, equals, value);
        if (o->letter != '\0')
            buf_format(out, " -%c%s%s", o->letter, equals, value);
    }
    buf_text(out, "'");
}

// "[PROMPT | -]" as "PROMPT", "FILE|-" as "FILE".
static void write_operands(struct buf *out, const char *operands) {
    buf_text(out, "operands='");
    bool apart = false;
    for (const char *c = operands; *c != '\0'; c++) {
        bool letter = isupper((unsigned char)*c) || *c == '_';
        if (letter && apart)
            buf_char(out, ' ');
        if (letter)
            buf_char(out, *c);
        apart = !letter && (apart || (c > operands && isupper((unsigned char)c[-1])));
    }
    buf_text(out, "'");
}

// The commands of a group (NULL: the first words of all), each once.
static void write_words(struct buf *out, const struct command *const *commands, const char *group) {
    bool first = true;
    buf_text(out, "words='");
    for (const struct command *const *c = commands; *c != NULL; c++) {
        const char *word = (*c)->group == NULL || group != NULL ? (*c)->name : (*c)->group;
        bool in_group = group == NULL || ((*c)->group != NULL && strcmp((*c)->group, group) == 0);
        // A group's commands stand together, behind the command of its own name where there is one.
        const struct command *before = c > commands ? c[-1] : NULL;
        bool told = group == NULL && before != NULL &&
                    strcmp(word, before->group != NULL ? before->group : before->name) == 0;
        if (!in_group || told)
            continue;
        buf_format(out, "%s%s", first ? "" : " ", word);
        first = false;
    }
    buf_text(out, "'");
}

static void write_command(struct buf *out, const struct command *const *commands, const struct command *c) {
    buf_format(out, "    '%s%s%s') ", c->group != NULL ? c->group : "", c->group != NULL ? " " : "", c->name);
    if (c->group == NULL && command_is_group(commands, c->name)) {
        write_words(out, commands, c->name);
        buf_char(out, ' ');
    }
    write_operands(out, c->operands);
    write_options(out, c->options);
    buf_text(out, " ;;\n");
}

void shell_completion_write(struct buf *out, const struct command *const *commands) {
    buf_text(out, head);
    buf_text(out, "    '') ");
    write_words(out, commands, NULL);
    write_options(out, command_globals);
    buf_text(out, " ;;\n");
    const char *group = "";
    for (const struct command *const *c = commands; *c != NULL; c++) {
        const char *of = (*c)->group != NULL ? (*c)->group : "";
        if (of[0] != '\0' && strcmp(of, group) != 0 && command_find(commands, NULL, of) == NULL) {
            buf_format(out, "    '%s') ", of);
            write_words(out, commands, of);
            buf_text(out, " ;;\n");
        }
        group = of;
        write_command(out, commands, *c);
    }
    buf_text(out, tail);
}
