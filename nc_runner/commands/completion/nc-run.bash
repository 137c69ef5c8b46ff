# Completion of nc-run, nc-plot, nc-status, nc-flow and nc-measure in bash.
# Made by nc-run --completion bash; docs/install.md says how to install it.

_nc_run() {
  local line=${COMP_LINE:0:COMP_POINT} found word before=
  word=${line##*[[:space:]]}
  COMPREPLY=()
  case ${COMP_WORDS[COMP_CWORD - 1]} in
    --config-dir | -cd) return ;; # folders and files, by "-o default" below
    --cfg | -c) COMPREPLY=($(compgen -W "job hydra all" -- "$word")) && return ;;
    --completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")) && return ;;
  esac
  # bash has cut the word at = and : and wants what follows the last of them
  [[ $COMP_WORDBREAKS == *=* && $word == *=* ]] && before=${word%"${word##*=}"}
  while IFS= read -r found; do
    case $found in
      "$word"*[=./]) COMPREPLY+=("${found#"$before"}") ;; # more of the word is to come
      "$word"*) COMPREPLY+=("${found#"$before"} ") ;;
    esac
  done < <(
    if [[ $word == -* ]]; then
      printf '%s\n' @FLAGS@
    else
      COMP_LINE=$line "$1" -sc query=fish 2>/dev/null
    fi
  )
}
complete -o nospace -o default -F _nc_run nc-run
