# Completion of nc-run, nc-plot, nc-status, nc-flow and nc-measure in zsh.
# Made by nc-run --completion zsh; docs/install.md says how to install it.

(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }

_nc_run() {
  local -a found whole
  case ${words[CURRENT-1]} in
    --config-dir|-cd) _directories; return ;;
    --cfg|-c) compadd job hydra all; return ;;
    --completion) compadd bash zsh fish; return ;;
  esac
  if [[ $PREFIX == -* ]]; then
    compadd -- @FLAGS@
    return
  fi
  found=("${(@f)$(COMP_LINE="nc-run ${words[2,CURRENT-1]} $PREFIX" ${words[1]} -sc query=fish 2>/dev/null)}")
  whole=(${found:#*[=./]})
  compadd -- $whole
  compadd -S '' -- ${found:|whole} # more of the word is to come
}
compdef _nc_run nc-run
