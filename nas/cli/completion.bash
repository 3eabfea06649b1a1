# Completes `nas` in bash and zsh; made by `nas completion`.
_nas_read=-ra
if [ -n "${ZSH_VERSION-}" ]; then
  _nas_read=-rA
  autoload -Uz compinit bashcompinit
  compinit
  bashcompinit
fi

# LISTS

_nas() {
  local line=${COMP_LINE:0:$COMP_POINT} said word before choices option=
  read $_nas_read said <<< "$line"
  [[ $line == *[[:space:]] && -n ${said[${#said[@]} - 1]} ]] && said+=("")
  local last=$(( ${#said[@]} - 1 ))
  word=${said[$last]}
  before=${said[$last - 1]}
  if [[ $word == --*=* ]]; then
    before=${word%%=*}
    option=$before=
    word=${word#*=}
  fi
  if [ $last = 1 ]; then
    choices=$_nas_commands
  elif [[ $word == -* ]]; then
    choices=$(_nas_flags "${said[1]}")
  elif [ $last = 2 ]; then
    choices=$(_nas_subjects "${said[1]}")
  elif [ $last = 3 ]; then
    choices=$(_nas_subjects "${said[1]} ${said[2]}" || _nas_values "$before")
  else
    choices=$(_nas_values "$before")
  fi
  COMPREPLY=($(compgen -W "$choices" -- "$word"))
  if [ -n "${ZSH_VERSION-}" ]; then
    COMPREPLY=("${COMPREPLY[@]/#/$option}")
  elif [[ $word == *:* && $COMP_WORDBREAKS == *:* ]]; then
    COMPREPLY=("${COMPREPLY[@]#${word%:*}:}")
  fi
}
complete -o bashdefault -o default -F _nas nas
