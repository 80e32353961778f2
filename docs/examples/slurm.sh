#!/bin/bash
#SBATCH --job-name=grade
#SBATCH --array=1-8
#SBATCH --cpus-per-task=4
#SBATCH --time=01:00:00
#
# Grades a class in eight shards, one machine each. In the folder of the katas, on a file system that all machines see:
#
#     SEED=$(shuf -i 1-2000000000 -n 1) sbatch --wait docs/examples/slurm.sh submitted out
#     grader merge out.* --out results
#
# A shard that was interrupted goes on if the same job is submitted again with the same SEED.
set -eu
grader grade "$1" --out "$2.$SLURM_ARRAY_TASK_ID" --seed "$SEED" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
