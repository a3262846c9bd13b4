def copying_initialisation(params, config, key):
    return params
