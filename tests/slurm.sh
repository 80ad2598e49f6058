#!/bin/bash
# Stands in for Slurm's commands, by the name that it is called: a job is a session of processes of this machine, whose
# id is in a file of the job's name in $SLURM.
case $(basename "$0") in
sbatch)
    start() {
        setsid bash "$script" > /dev/null 2>&1 < /dev/null &
        echo $! > "$SLURM/$1"
    }
    script=$1
    grep -q "^#SBATCH --partition=gone" "$script" && echo "sbatch: error: invalid partition: gone" >&2 && exit 1
    last=$(sed -n 's/^#SBATCH --array=0-\([0-9]*\)%.*/\1/p' "$script")
    export SLURM_JOB_ID=$$
    if [ -z "$last" ]; then
        start $$
    else
        export SLURM_ARRAY_JOB_ID=$$
        for task in $(seq 0 "$last"); do
            export SLURM_ARRAY_TASK_ID=$task
            start "$$_$task"
        done
    fi
    echo "Submitted batch job $$"
    ;;
srun)
    path() { sed "s/%A/$SLURM_ARRAY_JOB_ID/; s/%a/$SLURM_ARRAY_TASK_ID/; s/%j/$SLURM_JOB_ID/g; s/%t/0/" <<< "$1"; }
    out=$(path "$3") err=$(path "$5")
    exec "${@:6}" > "$out" 2> "$err"
    ;;
sacct)
    echo "JobID|State|NodeList"
    for file in "$SLURM"/*; do
        state=COMPLETED
        kill -0 -- "-$(cat "$file")" 2> /dev/null && state=RUNNING
        echo "$(basename "$file")|$state|here"
    done
    ;;
scancel)
    kill -TERM -- "-$(cat "$SLURM/${@: -1}")"
    ;;
esac
