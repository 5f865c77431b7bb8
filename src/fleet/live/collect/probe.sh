# What the service's user meets. Run as that user, by `sh -s`, after lines that set its environment.
# $1: limit in seconds, $2: nats-server, $3: its configuration ('' for none), $4: run the test (1) or not; then paths, as ROLE=PATH.
# Makes no file that stays: a name is made, and removed at once, only where the kernel has just said that it can't be.
limit=$1 program=$2 conf=$3 tested=$4
shift 4
LC_ALL=C
export LC_ALL
tab=$(printf '\t')
if timeout 1 true 2>/dev/null; then T="timeout $limit"; else T=; fi

printf 'pu\t%s\n' "$(id -un 2>/dev/null || id -u)"

if [ -n "$program" ]; then
  if [ -x "$program" ] && [ -f "$program" ]; then printf 'b\texecutable\t1\n'; else printf 'b\texecutable\t0\n'; fi
  version=$($T "$program" --version 2>&1 </dev/null | head -n 3)
  printf '%s\n' "$version" | sed 's/^/b	version	/'
  if [ "$tested" = 1 ]; then
    {
      $T "$program" -t -c "$conf" 2>&1 </dev/null
      printf '\nrollgate status %s\n' "$?"
    } | head -c 20000 | sed -e 's/^rollgate status /t	status	/' -e t -e 's/^/to	/'
  fi
fi

parent() {
  case $1 in
    */*) p=${1%/*}; printf '%s' "${p:-/}" ;;
    *) printf .;;
  esac
}

# The first directory on the way to $1 that can't be passed.
blocked() {
  way=
  rest=$1
  while :; do
    case $rest in
      */*) part=${rest%%/*}; rest=${rest#*/} ;;
      *) return ;;
    esac
    way=$way$part/
    [ -d "$way" ] || return
    if [ ! -x "$way" ]; then
      way=${way%/}
      printf 'f\t%s\tblocked\t%s\n' "$path" "${way:-/}"
      return
    fi
  done
}

why_not() { # directory that -w refused
  said=$( { mkdir "$1/.rollgate-$$" && rmdir "$1/.rollgate-$$"; } 2>&1)
  printf 'f\t%s\twrite-error\t%s\n' "$path" "${said##*: }"
}

for item in "$@"; do
  role=${item%%=*}
  path=${item#*=}
  case $path in *"$tab"*) continue ;; esac
  blocked "$path"
  if [ -e "$path" ]; then
    if [ -r "$path" ] && { [ ! -d "$path" ] || [ -x "$path" ]; }; then r=1; else r=0; fi
    printf 'f\t%s\treadable\t%s\n' "$path" "$r"
    case $role in
      store | log | pid | ports-dir | resolver-dir)
        if [ -w "$path" ] && { [ ! -d "$path" ] || [ -x "$path" ]; }; then
          printf 'f\t%s\twritable\t1\n' "$path"
        else
          printf 'f\t%s\twritable\t0\n' "$path"
          if [ -d "$path" ]; then
            why_not "$path"
          else
            said=$( { : >>"$path"; } 2>&1)
            printf 'f\t%s\twrite-error\t%s\n' "$path" "${said##*: }"
          fi
        fi
        ;;
    esac
  else
    up=$(parent "$path")
    case $role in
      # nats-server makes missing directories on the way to these, not to a pid or log file.
      store | resolver-dir) while [ ! -e "$up" ] && [ "$up" != / ] && [ "$up" != . ]; do up=$(parent "$up"); done ;;
    esac
    if [ ! -e "$up" ]; then
      case $role in
        log | pid | ports-dir)
          printf 'f\t%s\twritable\t0\n' "$path"
          said='No such file or directory'
          [ -z "$(blocked "$path")" ] || said='Permission denied'
          printf 'f\t%s\twrite-error\t%s\n' "$path" "$said"
          ;;
      esac
      continue
    fi
    printf 'f\t%s\tancestor\t%s\n' "$path" "$up"
    case $role in
      store | log | pid | ports-dir | resolver-dir)
        if [ -d "$up" ] && [ -w "$up" ] && [ -x "$up" ]; then
          printf 'f\t%s\twritable\t1\n' "$path"
        else
          printf 'f\t%s\twritable\t0\n' "$path"
          if [ -d "$up" ]; then why_not "$up"; else printf 'f\t%s\twrite-error\tNot a directory\n' "$path"; fi
        fi
        ;;
    esac
  fi
done
printf 'pe\n'
