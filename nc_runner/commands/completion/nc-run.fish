# Completion of nc-run, nc-plot, nc-status, nc-flow and nc-measure in fish.
# Made by nc-run --completion fish; docs/install.md says how to install it.

function __nc_run_settings
    set -l words (commandline -opc)
    set -lx COMP_LINE nc-run $words[2..-1] (commandline -ct)
    set COMP_LINE (string join -- ' ' $COMP_LINE)
    $words[1] -sc query=fish 2>/dev/null
end

function __nc_run_flags
    string split ' ' -- '@FLAGS@'
end

complete -c nc-run -e
complete -c nc-run -f
complete -c nc-run -n 'string match -q -- "-*" (commandline -ct)' -a '(__nc_run_flags)'
complete -c nc-run -n 'not string match -q -- "-*" (commandline -ct)' -a '(__nc_run_settings)'
complete -c nc-run -l config-dir -o cd -r -F -d 'a folder with settings of yours'
complete -c nc-run -l cfg -s c -x -a 'job hydra all' -d 'print the settings, and stop'
complete -c nc-run -l completion -x -a 'bash zsh fish' -d 'print this script'
