# Asks for the folders of data and results and for the wandb account, and exports them:
#
#     source script/set_path.sh
#
# Without it `./data` and `./log` are used and wandb runs under no entity.

printf 'Data folder [default: ./data]: '
read -r dppo_answer
export DPPO_DATA_DIR="${dppo_answer:-$PWD/data}"

printf 'Log folder [default: ./log]: '
read -r dppo_answer
export DPPO_LOG_DIR="${dppo_answer:-$PWD/log}"

printf 'wandb entity [default: none]: '
read -r dppo_answer
if [ -n "$dppo_answer" ]; then
    export DPPO_WANDB_ENTITY="$dppo_answer"
fi

printf 'Remember this in ~/.bashrc? [y/N]: '
read -r dppo_answer
if [ "$dppo_answer" = "y" ] || [ "$dppo_answer" = "Y" ]; then
    for dppo_name in DPPO_DATA_DIR DPPO_LOG_DIR DPPO_WANDB_ENTITY; do
        eval "dppo_value=\${$dppo_name:-}"
        if [ -n "$dppo_value" ]; then
            printf 'export %s="%s"\n' "$dppo_name" "$dppo_value" >>"$HOME/.bashrc"
        fi
    done
fi

echo "DPPO_DATA_DIR=$DPPO_DATA_DIR"
echo "DPPO_LOG_DIR=$DPPO_LOG_DIR"
echo "DPPO_WANDB_ENTITY=${DPPO_WANDB_ENTITY:-}"
unset dppo_answer dppo_name dppo_value
